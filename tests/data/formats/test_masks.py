from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from transferflow.data.files.boxes import Seen
from transferflow.data.files.pixels import orient
from transferflow.data.formats.mask_coding import index_coding
from transferflow.data.formats.mask_pixels import read_mask
from transferflow.data.formats.masks import MaskFiles, inspect_mask
from transferflow.errors import DataError

CLASSES = ("sky", "tree", "road")


@pytest.fixture
def files(tmp_path: Path) -> MaskFiles:
    return MaskFiles(tmp_path, CLASSES, index_coding(CLASSES, 255))


def save(files, values, name="m.png", **options):
    Image.fromarray(values).save(files.root / name, **options)
    return name


@pytest.mark.parametrize("orientation", range(1, 9))
def test_masks_of_the_stored_pixels_turn_with_their_image(files, orientation):
    values = np.random.default_rng(0).integers(0, 3, (10, 20), np.uint8)
    mask = save(files, values)
    turned = orient(values, orientation)
    seen = Seen(turned.shape[1], turned.shape[0], orientation)
    swapped = orientation >= 5
    assert np.array_equal(files.read(mask, seen), turned if swapped else values)
    as_seen = save(files, np.ascontiguousarray(turned), "seen.png")
    assert np.array_equal(files.read(as_seen, seen), turned)


def test_other_sizes_and_values_are_refused(files):
    with pytest.raises(DataError, match="another size"):
        files.read(save(files, np.zeros((4, 4), np.uint8)), Seen(5, 4, 1))
    with pytest.raises(DataError, match="no class") as error:
        files.read(save(files, np.full((4, 4), 3, np.uint8)), Seen(4, 4, 1))
    assert error.value.problems[0].found == "value 3"


@pytest.mark.parametrize("mode", ["1", "L", "P", "I;16"])
def test_kinds_of_index_masks(files, mode):
    values = np.zeros((4, 6), np.uint8)
    values[1:3, 2:5] = 1
    image = Image.fromarray(values * 255 if mode == "1" else values)
    if mode == "P":
        image = Image.fromarray(values, "P")
        image.putpalette([9, 9, 9, 200, 0, 0])
    elif mode == "I;16":
        image = Image.fromarray(values.astype(np.uint16))
    else:
        image = image.convert(mode)
    image.save(files.root / "m.png")
    assert np.array_equal(files.read("m.png", Seen(6, 4, 1)), values)


def test_inspection_never_raises(files):
    for name, content in (("empty.png", b""), ("cut.png", b"\x89PNG\r\n\x1a\n123"), ("none.png", None)):
        if content is not None:
            (files.root / name).write_bytes(content)
        facts = inspect_mask(files, name)
        assert facts.problem_kind == "bad_mask"


def test_inspection_says_what_is_in_a_mask(files):
    values = np.array([[0, 1, 255], [2, 2, 7]], np.uint8)
    facts = inspect_mask(files, save(files, values))
    assert (facts.mask_width, facts.mask_height, facts.mask_values) == (3, 2, (0, 1, 2, 7, 255))


def test_coco_masks_follow_their_annotations(tmp_path):
    def write(points):
        whole = {
            "images": [{"id": "a#1", "file_name": "x.png", "width": 8, "height": 6}],
            "annotations": [{"image_id": "a#1", "category_id": 1, "segmentation": [points]}],
            "categories": [{"id": 1, "name": "tree"}],
        }
        (tmp_path / "a.json").write_text(json.dumps(whole))

    classes = ("background", "tree")
    files = MaskFiles(tmp_path, classes, index_coding(classes, 255))
    write([1, 1, 5, 1, 5, 4, 1, 4])
    with pytest.raises(DataError, match="no such image"):
        files.read_raw("a.json#7")
    (tmp_path / "b.json").write_text((tmp_path / "a.json").read_text().replace("a#1", "1"))
    facts = inspect_mask(files, "b.json#1")
    assert facts.mask_values == (0, 1)
    assert int(files.read("b.json#1", Seen(8, 6, 1)).sum()) == 12
    (tmp_path / "b.json").write_text(
        (tmp_path / "b.json").read_text().replace("[1, 1, 5, 1", "[0, 1, 5, 1").replace("1, 4]", "0, 4]")
    )
    assert inspect_mask(files, "b.json#1").mask_sha256 != facts.mask_sha256


def gray_png(values, bits, transparent=None):
    """A gray PNG of few bits, written after the PNG specification: Pillow writes none."""
    rows = b"".join(
        b"\0" + np.packbits(np.unpackbits(row[:, None], axis=1)[:, -bits:]).tobytes() for row in values
    )
    height, width = values.shape
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0))]
    if transparent is not None:
        chunks.append((b"tRNS", struct.pack(">H", transparent)))
    chunks += [(b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    framed = (
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


@pytest.mark.parametrize("transparent", [None, 1])
@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_gray_of_few_bits_is_read_as_stored(tmp_path, bits, transparent):
    stored = (np.arange(24).reshape(3, 8) % 2**bits).astype(np.uint8)
    (tmp_path / "m.png").write_bytes(gray_png(stored, bits, transparent))
    assert np.array_equal(read_mask(tmp_path / "m.png", colours=False)[0], stored)


@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
@pytest.mark.parametrize("dtype", [np.uint8, np.bool_])
def test_inverted_gray_is_read_as_stored(tmp_path, dtype, compression):
    """ImageJ writes its binary masks so: 0 is shown white, and the object is 255."""
    stored = np.array([[0, 1, 1], [0, 0, 1]], np.uint8)
    if compression is None:
        values = stored.astype(dtype) if dtype == np.bool_ else stored * 255
        tifffile.imwrite(tmp_path / "m.tif", values, photometric="miniswhite")
    else:
        values = stored * (1 if dtype == np.bool_ else 255)
        image = Image.fromarray(~(stored * 255)).convert("1" if dtype == np.bool_ else "L")
        image.save(tmp_path / "m.tif", compression=compression, tiffinfo={262: 0})
    assert np.array_equal(read_mask(tmp_path / "m.tif", colours=False)[0], values)


def test_transparency_is_left_aside(tmp_path):
    values = np.array([[0, 1, 2], [2, 2, 0]], np.uint8)
    alpha = np.array([[0, 255, 9], [0, 0, 0]], np.uint8)
    Image.merge("LA", [Image.fromarray(values), Image.fromarray(alpha)]).save(tmp_path / "la.png")
    assert np.array_equal(read_mask(tmp_path / "la.png", colours=False)[0], values)
    bands = [Image.fromarray(values * 100), *(Image.fromarray(values) for _ in range(2))]
    Image.merge("RGBA", [*bands, Image.fromarray(alpha)]).save(tmp_path / "rgba.png")
    assert read_mask(tmp_path / "rgba.png", colours=True)[0].tolist() == [
        [0, 0x640101, 0xC80202],
        [0xC80202, 0xC80202, 0],
    ]


def test_wide_values_are_no_colours(tmp_path):
    Image.fromarray(np.zeros((2, 2), np.uint16)).save(tmp_path / "m.png")
    with pytest.raises(DataError, match="I;16 image, not one of colours"):
        read_mask(tmp_path / "m.png", colours=True)


@pytest.mark.parametrize(
    ("pixels", "words"),
    [
        ([[1, 0, 0], [0, 1, 0]], ("(the colours [0, 1, 0], [1, 0, 0])", "data.encoding: rgb")),
        ([[0, 0, 0], [255, 255, 255]], ("[255, 255, 255])", "all channels are alike", "with one channel")),
        ([[n, 0, 0] for n in range(9)], ("9 colours", "[7, 0, 0], …)")),
        ([[n, n // 2, 1] for n in range(256)] + [[0, 0, 0]], ("257 colours)", "smooth edges")),
    ],
)
def test_a_mask_in_colours_says_which(files, pixels, words):
    mask = save(files, np.array([pixels], np.uint8))
    told = inspect_mask(files, mask).problem
    assert told.startswith("the mask is a RGB image, not one of indices (")
    assert all(word in told for word in words), told
    assert ("alike" in told) == ("alike" in " ".join(words))


def test_a_page_per_class_is_no_mask(files):
    pages = np.zeros((3, 8, 6), np.uint8)
    pages[0] = 1
    tifffile.imwrite(files.root / "pages.tif", pages, photometric="minisblack")
    assert "holds 3 images (pages)" in inspect_mask(files, "pages.tif").problem
    with tifffile.TiffWriter(files.root / "small.tif") as writer:  # a thumbnail is no other mask
        writer.write(pages[0], photometric="minisblack")
        writer.write(pages[1, :4, :3], photometric="minisblack", subfiletype=1)
    assert inspect_mask(files, "small.tif").mask_values == (1,)
