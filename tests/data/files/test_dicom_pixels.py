from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

from transferflow.data.files.decode import decode_image
from transferflow.errors import DataError
from transferflow.spec.sections.intensity import Percentile, Window

STORED = np.array([[0, 1000, 2000], [3000, 4000, 4095]], np.uint16)


def write(path: Path, values: np.ndarray = STORED, **fields) -> Path:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    file.Rows, file.Columns = values.shape[:2]
    file.SamplesPerPixel = 1
    file.PhotometricInterpretation = "MONOCHROME2"
    file.BitsAllocated, file.BitsStored, file.HighBit = 16, 12, 11
    file.PixelRepresentation = int(values.dtype.kind == "i")
    for name, value in fields.items():
        setattr(file, name, value)
    file.PixelData = values.tobytes()
    file.save_as(path, enforce_file_format=True)
    return path


def test_the_stored_bits_are_the_full_range(tmp_path):
    decoded = decode_image(write(tmp_path / "a.dcm"), 1)
    assert decoded[..., 0].tolist() == np.rint(STORED / 4095 * 255).tolist()
    assert decode_image(write(tmp_path / "no_suffix"), 3).shape == (2, 3, 3)


def test_window_is_in_hounsfield_units(tmp_path):
    path = write(tmp_path / "ct.dcm", RescaleSlope="1", RescaleIntercept="-1024")
    decoded = decode_image(path, 1, Window(kind="window", level=0.0, width=2000.0))
    expected = np.clip((STORED.astype(float) - 1024 + 1000) / 2000, 0, 1) * 255
    np.testing.assert_array_equal(decoded[..., 0], np.rint(expected))


def test_monochrome1_is_inverted(tmp_path):
    plain = write(tmp_path / "2.dcm", RescaleSlope="1", RescaleIntercept="-1024")
    inverse = write(
        tmp_path / "1.dcm",
        RescaleSlope="1",
        RescaleIntercept="-1024",
        PhotometricInterpretation="MONOCHROME1",
    )
    for intensity in (
        Window(kind="window", level=500.0, width=900.0),
        Percentile(kind="percentile", low=5.0, high=95.0),
    ):
        turned = decode_image(inverse, 1, intensity)
        np.testing.assert_array_equal(255 - turned, decode_image(plain, 1, intensity))


def test_signed_values(tmp_path):
    values = np.array([[-2048, 0, 2047]], np.int16)
    assert decode_image(write(tmp_path / "s.dcm", values), 1).ravel().tolist() == [0, 128, 255]


def test_a_real_ct_slice_equals_pydicom(tmp_path):
    path = Path(get_testdata_file("CT_small.dcm"))
    file = pydicom.dcmread(path)
    units = file.pixel_array.astype(float) * float(file.RescaleSlope) + float(file.RescaleIntercept)
    expected = np.rint(np.clip((units + 160) / 400, 0, 1) * 255)
    decoded = decode_image(path, 1, Window(kind="window", level=40.0, width=400.0))
    np.testing.assert_array_equal(decoded[..., 0], expected)


def test_colour(tmp_path):
    values = np.random.default_rng(0).integers(0, 256, (4, 5, 3), np.uint8)
    path = write(
        tmp_path / "rgb.dcm",
        values,
        PhotometricInterpretation="RGB",
        SamplesPerPixel=3,
        PlanarConfiguration=0,
        BitsAllocated=8,
        BitsStored=8,
        HighBit=7,
    )
    np.testing.assert_array_equal(decode_image(path, 3), values)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda file: file.__delattr__("PixelData"), "holds no image"),
        (lambda file: setattr(file, "NumberOfFrames", 3), "holds 3 frames"),
        (lambda file: setattr(file, "PixelData", b"\0\0"), "is damaged"),
        (lambda file: file.__delattr__("Rows"), "is damaged"),
        (lambda file: setattr(file, "Rows", 65000) or setattr(file, "Columns", 65000), "decompression bomb"),
    ],
)
def test_what_is_wrong_is_reported(tmp_path, change, reason):
    path = write(tmp_path / "a.dcm")
    file = pydicom.dcmread(path)
    change(file)
    file.save_as(path)
    with pytest.raises(DataError, match=reason):
        decode_image(path, 1)


def test_a_wrong_suffix_is_reported(tmp_path):
    path = tmp_path / "a.dcm"
    path.write_bytes(b"no dicom at all" * 20)
    with pytest.raises(DataError, match="not valid DICOM"):
        decode_image(path, 1)
