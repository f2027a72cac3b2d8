from __future__ import annotations

import base64
import io
import os
import struct
import threading
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from transferflow.data.files import images, room
from transferflow.data.files.decode import decode_image
from transferflow.data.files.images import OtherKindError, open_image
from transferflow.data.files.room import DecodingRoom, TooLargeError
from transferflow.data.snapshot.image_facts import inspect_image
from transferflow.errors import DataError
from transferflow.spec.sections.intensity import FullRange

POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n(x) run\n%%EOF\n"
HEIC = base64.b64decode(
    "AAAAHGZ0eXBoZWl4AAAAAG1pZjFoZWl4bWlhZgAAAX5tZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAAAAAAACJp"
    "bG9jAAAAAERAAAEAAQAAAAABogABAAAAAAAAAM4AAAAjaWluZgAAAAAAAQAAABVpbmZlAgAAAAABAABodmMxAAAAAA5waXRtAAAAAAAB"
    "AAAA/mlwcnAAAADeaXBjbwAAAHdodmNDAQQIAAAAnjgAAAAAHvAA/P/4+AAADwNgAAEAF0ABDAH//wQIAAADAJ44AAADAAAeugJAYQAB"
    "ACpCAQEECAAAAwCeOAAAAwAAHpAEECCy3VXTXNwENBgQAAADAZAAAAMAEIBiAAEACEQBwXMYMBiQAAAAE2NvbHJuY2x4AAEADQAGgAAA"
    "ABRpc3BlAAAAAAAAAEAAAABAAAAAKGNsYXAAAAAYAAAAAQAAABAAAAAB////2AAAAAL////QAAAAAgAAABBwaXhpAAAAAAMICAgAAAAY"
    "aXBtYQAAAAAAAAABAAEFgQIDBYQAAADWbWRhdAAAAMooAa8GMh8qsZBdQcV288///3nvQ9nDO3ZyyQ9AKaU6xx88Rzn/+/T/9u5WToPD"
    "XcLYqCMW9HL/HY+f/idOA8at7gXuCTT1jXfm9S+3/wd7/O9fzIJZI+M+4HZ83N4Tfe6Wi89gUNTLWaN5hP1S/+ippmASIq61jgDr+JN0"
    "al2RZoP4WgNJ9WUadHxdVlnORZEsf+o8oOp/r3MKFPb+CUx5Fm4uhMg0INDIHjzxFOraFZqKYHxxzTyXinWtcILBkpw6K14tBPE2OPng"
)
"""24 x 16 pixels in four quarters: red, green, blue, almost white."""
QUARTERS = {(4, 6): (200, 40, 40), (4, 18): (40, 200, 40), (12, 6): (40, 40, 200), (12, 18): (240, 240, 240)}


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def facts(path: Path):
    return inspect_image(path, 3, FullRange())


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.jpg", "a.eps"])
def test_a_program_of_another_plug_in_is_never_started(tmp_path, monkeypatch, name):
    from PIL import EpsImagePlugin

    started = []
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *args, **options: started.append(args))
    path = write(tmp_path / name, POSTSCRIPT)
    with pytest.raises(DataError, match="a PostScript program"):
        decode_image(path, 3)
    assert facts(path).problem_kind == "not_an_image"
    # Behind bytes that no check knows, Pillow's own list of formats decides.
    for content in (b"\xc5\xd0\xd3\xc7" + POSTSCRIPT, b"P6 1 1 255\n\1\2\3", b"#define a_width 8\n"):
        with pytest.raises(DataError, match="not an image"):
            decode_image(write(tmp_path / name, content), 3)
    assert not started


@pytest.mark.parametrize(
    ("head", "kind", "said"),
    [
        (b"version https://git-lfs.github.com/spec/v1", "not_an_image", "git lfs pull"),
        (b" <!DOCTYPE html>", "not_an_image", "HTML"),
        (b"PK\x03\x04", "not_an_image", "ZIP"),
        (b"8BPS\0\1", "unsupported", "Photoshop"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "unsupported", "JPEG 2000"),
        (b"\xff\x0a", "unsupported", "JPEG XL"),
        (b"\x76\x2f\x31\x01", "unsupported", "OpenEXR"),
    ],
)
def test_other_kinds_are_named(tmp_path, head, kind, said):
    found = facts(write(tmp_path / "a.png", head + bytes(200)))
    assert found.problem_kind == kind
    assert said in found.problem


def test_heic_is_read(tmp_path):
    path = write(tmp_path / "a.heic", HEIC)
    decoded = decode_image(path, 3)
    assert decoded.shape == (16, 24, 3)
    for place, colour in QUARTERS.items():
        np.testing.assert_allclose(decoded[place], colour, atol=8)
    assert facts(path).problem is None
    assert facts(write(tmp_path / "a.jpg", HEIC)).note == "named .jpg, but holds HEIF"


@pytest.mark.parametrize("content", [HEIC, bytes.fromhex("0000001866747970686569630000000000000000")])
def test_heic_without_its_reader_is_named_with_what_to_install(tmp_path, monkeypatch, content, data_section):
    monkeypatch.setattr(images, "_what_heif_needs", lambda: "`pip install 'transferflow[heif]'`")
    path = write(tmp_path / "IMG_1.HEIC", content)
    found = facts(path)
    assert found.problem_kind == "unsupported"
    assert found.problem == "the file is a HEIC image: `pip install 'transferflow[heif]'` reads it"
    with pytest.raises(OtherKindError, match="heif"):
        open_image(path)


def test_heic_is_listed_like_any_other_image(tmp_path, list_data):
    for name in ("a/1.HEIC", "a/2.heif", "b/3.avif"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write(tmp_path / name, HEIC)
    assert [record.path for record in list_data(tmp_path, format="image_folder").records] == [
        "a/1.HEIC",
        "a/2.heif",
        "b/3.avif",
    ]


def test_avif_is_read(tmp_path):
    pixels = np.zeros((16, 24, 3), np.uint8)
    for (row, column), colour in QUARTERS.items():
        pixels[row - 4 : row + 4, column - 6 : column + 6] = colour
    Image.fromarray(pixels).save(tmp_path / "a.avif", quality=95)
    decoded = decode_image(tmp_path / "a.avif", 3)
    for place, colour in QUARTERS.items():
        np.testing.assert_allclose(decoded[place], colour, atol=8)


def test_an_image_can_be_opened_from_memory():
    stream = io.BytesIO()
    Image.fromarray(np.full((3, 5), 7, np.uint8)).save(stream, "PNG")
    with open_image(stream) as image:
        assert (image.size, image.getpixel((0, 0))) == ((5, 3), 7)


def test_a_pipe_and_a_device_are_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    for path in (tmp_path / "a.png", Path("/dev/zero"), tmp_path):
        with pytest.raises(DataError, match="not a regular file"):
            decode_image(path, 3)
        with pytest.raises(OSError, match="not a regular file"):
            open_image(path)


def test_a_jpeg_of_endless_passes_is_refused(tmp_path):
    stream = io.BytesIO()
    Image.fromarray(np.zeros((3000, 3000), np.uint8)).save(stream, "JPEG", progressive=True)
    content = stream.getvalue()
    last = content.rindex(b"\xff\xda")
    bomb = content[:-2] + content[last:-2] * 1200 + content[-2:]
    assert len(bomb) < 2_000_000
    start = time.process_time()
    found = facts(write(tmp_path / "a.jpg", bomb))
    assert found.problem_kind == "too_large"
    assert time.process_time() - start < 5
    assert facts(write(tmp_path / "b.jpg", content)).problem is None


def test_an_image_of_too_many_bytes_is_refused_before_they_are_taken(tmp_path):
    """A header of 16-bit RGBA over 150 million pixels: 1.2 GB of values in a file of a few bytes."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", 15_000, 10_000, 16, 6, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    png += struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))
    found = facts(write(tmp_path / "a.png", png))
    assert found.problem_kind == "too_large"
    assert "GiB" in found.problem


def test_threads_wait_for_room():
    space = DecodingRoom(1000)
    at_once, most, order = [], [], []
    lock = threading.Lock()

    def work(size: int) -> None:
        with space.claim() as claim:
            claim(size, 1, 1)
            with lock:
                at_once.append(size)
                most.append(sum(at_once))
            time.sleep(0.01)
            with lock:
                at_once.remove(size)
                order.append(size)

    threads = [threading.Thread(target=work, args=(size,)) for size in (600, 600, 300, 1500, 200, 900, 50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(order) == 7
    assert max(total for total in most if total != 1500) <= 1000
    assert not any(total > 1500 for total in most)


def test_room_is_given_back_after_an_error():
    space = DecodingRoom(100)

    def fail() -> None:
        with space.claim() as claim:
            claim(10, 10, 1)
            claim(room.MAX_PIXELS + 1, 1, 1)

    for _ in range(3):
        with pytest.raises(TooLargeError):
            fail()
    with space.claim() as claim:
        claim(100, 1, 1)
