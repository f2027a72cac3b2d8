"""A zoo of broken and odd files, each with a known answer."""

from __future__ import annotations

import hashlib
import io
import struct
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image

from transferflow.data.snapshot.image_facts import inspect_image
from transferflow.spec.sections.intensity import FullRange

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)


def encode(kind, image=None, **options):
    stream = io.BytesIO()
    (image or Image.fromarray(PIXELS)).save(stream, kind, **options)
    return stream.getvalue()


def png_header(width, height):
    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")


def tiff(values, **options):
    stream = io.BytesIO()
    tifffile.imwrite(stream, values, **options)
    return stream.getvalue()


def inspect(tmp_path, name, content, channels=3):
    file = tmp_path / name
    file.write_bytes(content)
    return inspect_image(file, channels, FullRange())


BAD = {
    "empty.png": (b"", "empty_file"),
    "cut.jpg": (encode("JPEG")[:900], "truncated"),
    "cut.png": (encode("PNG")[:3000], "truncated"),
    "cut_header.png": (encode("PNG")[:20], "truncated|unreadable|not_an_image"),
    "cut.webp": (encode("WEBP")[:200], "truncated|unreadable|not_an_image"),
    "cut.tif": (tiff(PIXELS)[:4000], "truncated|unreadable"),
    "bomb.png": (png_header(60_000, 60_000), "too_large"),
    "noise.jpg": (bytes(range(256)) * 4, "not_an_image"),
    "page.jpg": (b"<!DOCTYPE html><html>404</html>", "not_an_image"),
    "pointer.png": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "not_an_image"),
    "paper.jpg": (b"%PDF-1.7 ...", "not_an_image"),
    "packed.png": (b"PK\x03\x04....", "not_an_image"),
    "crc.png": (
        encode("PNG")[:40] + b"\xff\xff\xff" + encode("PNG")[43:],
        "unreadable|truncated|not_an_image",
    ),
    "bands.tif": (
        tiff(np.zeros((8, 8, 7), np.uint8), photometric="minisblack", planarconfig="contig"),
        "unsuitable",
    ),
    "floats.tif": (tiff(np.ones((8, 8), np.float32)), "unsuitable"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_have_a_reason_and_never_raise(tmp_path, name):
    content, kinds = BAD[name]
    facts = inspect(tmp_path, name, content)
    assert facts.problem
    assert facts.problem_kind in kinds.split("|"), facts
    assert facts.size == len(content)
    assert str(tmp_path) not in facts.problem


@pytest.mark.parametrize("cut", range(0, 400, 7))
def test_a_file_cut_anywhere_never_raises(tmp_path, cut):
    for name, kind in (("a.jpg", "JPEG"), ("a.png", "PNG"), ("a.webp", "WEBP"), ("a.gif", "GIF")):
        assert inspect(tmp_path, name, encode(kind)[:cut]).problem
    assert inspect(tmp_path, "a.tif", tiff(PIXELS)[:cut]).problem


GOOD = {
    "rgb.png": (encode("PNG"), 3, "RGB"),
    "gray.jpg": (encode("JPEG", Image.fromarray(PIXELS[..., 0])), 3, "L"),
    "alpha.png": (encode("PNG", Image.fromarray(PIXELS).convert("RGBA")), 3, "RGBA"),
    "palette.png": (encode("PNG", Image.fromarray(PIXELS).convert("P")), 3, "P"),
    "cmyk.jpg": (encode("JPEG", Image.fromarray(PIXELS).convert("CMYK")), 3, "CMYK"),
    "wide.png": (encode("PNG", Image.fromarray(PIXELS[..., 0].astype(np.uint16) * 257)), 1, "I;16"),
    "bands.tif": (
        tiff(np.zeros((40, 60, 7), np.uint8), photometric="minisblack", planarconfig="contig"),
        7,
        None,
    ),
}


@pytest.mark.parametrize("name", GOOD)
def test_odd_files_that_can_be_used(tmp_path, name):
    content, channels, mode = GOOD[name]
    facts = inspect(tmp_path, name, content, channels)
    assert facts.problem is None
    assert facts.note is None
    assert (facts.width, facts.height) == (60, 40)
    assert mode in (None, facts.mode)
    assert facts.sha256 == hashlib.sha256(content).hexdigest()


def test_orientation_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    facts = inspect(tmp_path, "a.jpg", encode("JPEG", exif=exif))
    assert (facts.width, facts.height, facts.orientation) == (40, 60, 6)


def test_wrong_extension_is_noted(tmp_path):
    assert inspect(tmp_path, "a.jpg", encode("PNG")).note == "named .jpg, but holds PNG"


def test_brightness(tmp_path):
    flat = encode("PNG", Image.fromarray(np.full((9, 9, 3), 51, np.uint8)))
    facts = inspect(tmp_path, "a.png", flat)
    assert facts.brightness == pytest.approx(0.2)
    assert facts.phash is None


def test_missing_file(tmp_path):
    facts = inspect_image(tmp_path / "none.png", 3, FullRange())
    assert (facts.problem_kind, facts.sha256) == ("unreadable", None)
