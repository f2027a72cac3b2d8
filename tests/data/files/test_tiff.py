"""TIFF and DICOM files that ask for more than they are."""

from __future__ import annotations

import lzma
import struct
import time
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile

from transferflow.data.files import dicom_pixels, tiff_limits
from transferflow.data.files.decode import decode_image
from transferflow.data.snapshot.image_facts import inspect_image
from transferflow.errors import DataError
from transferflow.limits import MAX_TIFF_PAGES
from transferflow.spec.sections.intensity import FullRange, Percentile

pydicom = pytest.importorskip("pydicom")


def directory(after: int, *, big: bool = False, width: int = 4) -> bytes:
    """One image directory of a gray image of 4 x 4 pixels, whose pixels lie at offset 8; then the next."""
    tags = {256: width, 257: 4, 258: 8, 259: 1, 262: 1, 273: 8, 277: 1, 278: 4, 279: 16}
    if big:
        entries = b"".join(struct.pack("<HHQQ", tag, 4, 1, value) for tag, value in tags.items())
        return struct.pack("<Q", len(tags)) + entries + struct.pack("<Q", after)
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return struct.pack("<H", len(tags)) + entries + struct.pack("<I", after)


@pytest.mark.parametrize("length", [1, 2, 5])
@pytest.mark.parametrize("big", [False, True])
def test_directories_that_lead_in_a_circle(tmp_path: Path, big: bool, length: int) -> None:
    head = struct.pack("<2sHHHQ", b"II", 43, 8, 0, 48) if big else struct.pack("<2sHI", b"II", 42, 48)
    size = len(directory(0, big=big))
    starts = [48 + number * size for number in range(length)]
    body = b"".join(directory(at, big=big) for at in [*starts[1:], starts[0]])
    path = tmp_path / "a.tif"
    path.write_bytes(head.ljust(48, b"\0") + body)
    start = time.process_time()
    with pytest.raises(DataError, match="in a circle"):
        decode_image(path, 1)
    assert time.process_time() - start < 1


def test_too_many_pages(tmp_path: Path) -> None:
    size = len(directory(0))
    pages = b"".join(directory(24 + (n + 1) * size) for n in range(50_000))
    path = tmp_path / "a.tif"
    path.write_bytes(struct.pack("<2sHI", b"II", 42, 24).ljust(24, b"\0") + pages)
    start = time.process_time()
    with pytest.raises(DataError, match=f"more than {MAX_TIFF_PAGES:,} images"):
        decode_image(path, 1)
    assert time.process_time() - start < 1


LIMIT = 1 << 24


@pytest.fixture
def small_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bomb for the real limit takes seconds to make."""
    for module in (tiff_limits, dicom_pixels):
        monkeypatch.setattr(module, "MAX_IMAGE_BYTES", LIMIT)


def refused_within(path: Path, bytes_taken: int) -> None:
    tracemalloc.start()
    facts = inspect_image(path, 1, FullRange())
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert facts.problem_kind == "too_large"
    assert most < bytes_taken


@pytest.mark.usefixtures("small_limit")
@pytest.mark.parametrize("compression", ["zlib", "lzma"])
def test_a_strip_that_never_ends_takes_no_memory(tmp_path: Path, compression: str) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((4, 4), np.uint8), compression=compression)
    with tifffile.TiffFile(path) as file:
        tags = file.pages.first.tags
        places = {name: tags[name].valueoffset for name in ("StripOffsets", "StripByteCounts")}
        kinds = {name: tags[name].dtype for name in places}
    content = bytearray(path.read_bytes())
    bomb = _bomb(compression)
    for name, value in (("StripOffsets", len(content)), ("StripByteCounts", len(bomb))):
        assert kinds[name] in (4, 16)
        struct.pack_into("<I" if kinds[name] == 4 else "<Q", content, places[name], value)
    path.write_bytes(bytes(content) + bomb)
    refused_within(path, LIMIT)


def _bomb(compression: str) -> bytes:
    zeros = bytes(4 * LIMIT)
    return zlib.compress(zeros, 1) if compression == "zlib" else lzma.compress(zeros, preset=0)


@pytest.mark.usefixtures("small_limit")
def test_a_deflated_dicom_file_that_never_ends_takes_no_memory(tmp_path: Path) -> None:
    meta = pydicom.dataset.FileMetaDataset()
    meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = pydicom.uid.SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
    file = pydicom.dataset.FileDataset("a", {}, file_meta=meta, preamble=bytes(128))
    file.PatientID = "1"
    file.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    head = (tmp_path / "a.dcm").read_bytes()
    start = 144 + int.from_bytes(head[140:144], "little")  # behind the group of the file's own header
    packer = zlib.compressobj(1, wbits=-15)
    (tmp_path / "a.dcm").write_bytes(head[:start] + packer.compress(bytes(4 * LIMIT)) + packer.flush())
    refused_within(tmp_path / "a.dcm", LIMIT)


@pytest.mark.parametrize("intensity", [FullRange(), Percentile(kind="percentile", low=0.0, high=100.0)])
def test_wide_values_are_scaled_without_a_copy_of_all_of_them(tmp_path: Path, intensity: FullRange) -> None:
    """64 MB of 16-bit RGBA took 450 MB: float64 of everything, several times."""
    values = np.random.default_rng(0).integers(0, 65536, (2048, 4096, 4), np.uint16)
    values[0, 0], values[0, 1] = 0, 65535
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="rgb", extrasamples=["unassalpha"])
    tracemalloc.start()
    decoded = decode_image(tmp_path / "a.tif", 4, intensity)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 4 * values.nbytes
    np.testing.assert_array_equal(decoded[::97], np.rint(values[::97] / 257))
