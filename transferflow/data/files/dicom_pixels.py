"""DICOM files through pydicom (an optional package)."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from transferflow.data.files.pixels import RawImage, UnsuitableImageError, Values
from transferflow.data.files.room import Claim, TooLargeError
from transferflow.errors import DataError, MissingDependencyError
from transferflow.limits import MAX_IMAGE_BYTES

if TYPE_CHECKING:
    from pydicom import Dataset

DICOM_SUFFIXES = frozenset({".dcm", ".dicom"})
_DEFERRED = "1 MB"
_CHUNK = 1 << 20


def has_dicom_preamble(head: bytes) -> bool:
    """Whether a file that starts with these 132 bytes is DICOM."""
    return head[128:132] == b"DICM"


def read_dicom(path: Path, claim: Claim) -> RawImage:
    """Read the image of a DICOM file in its own units (Hounsfield units for CT).

    The rescale slope and intercept are applied. MONOCHROME1 is marked as inverted.

    Args:
        path: The file.
        claim: Called with the image's size before it is decoded.

    Raises:
        DataError: If it is no DICOM file.
        UnsuitableImageError: If it holds no image, or several.
        TooLargeError: If it is too large. A damaged file raises anything.
        MissingDependencyError: If pydicom is not installed.
    """
    try:
        import pydicom
        from pydicom.errors import InvalidDicomError
        from pydicom.pixels.utils import pixel_array
    except ImportError as error:
        raise MissingDependencyError(
            "DICOM files are read with pydicom, which is not installed",
            where=str(path),
            hint="pip install 'transferflow[dicom]'",
        ) from error
    try:
        refuse_inflated(path)
        file = pydicom.dcmread(path, defer_size=_DEFERRED)  # the header tells whether the rest is wanted
    except (InvalidDicomError, EOFError) as error:
        raise DataError(f"the file is not valid DICOM: {error}", where=str(path)) from error
    _check_frame(file, claim)
    return _in_own_units(np.asarray(pixel_array(file)), file)


def refuse_inflated(path: Path) -> None:
    """Inflate a deflated file piece by piece: pydicom does it at once, whatever comes out.

    Raises:
        TooLargeError: If more comes out than an image may take.
        UnsuitableImageError: If its header says so in a way that can't be followed.
        InvalidDicomError: If it is no DICOM file. A damaged file raises anything.
    """
    from pydicom.filereader import read_dataset, read_file_meta_info, read_preamble
    from pydicom.uid import DeflatedExplicitVRLittleEndian

    if read_file_meta_info(path).get("TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
        return
    with path.open("rb") as stream:
        read_preamble(stream, force=False)
        header = read_dataset(stream, False, True, stop_when=lambda tag, _vr, _length: tag >> 16 != 2)
        if header.get("TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
            raise UnsuitableImageError("its header is of another form than its content")
        inflater, size = zlib.decompressobj(-zlib.MAX_WBITS), 0
        while chunk := inflater.unconsumed_tail or stream.read(_CHUNK):
            size += len(inflater.decompress(chunk, _CHUNK))
            if size > MAX_IMAGE_BYTES:
                raise TooLargeError(f"its deflated content takes more than {MAX_IMAGE_BYTES >> 20} MiB")


def _check_frame(file: Dataset, claim: Claim) -> None:
    if "PixelData" not in file and "FloatPixelData" not in file and "DoubleFloatPixelData" not in file:
        raise UnsuitableImageError("the DICOM file holds no image")
    if int(file.get("NumberOfFrames") or 1) > 1:
        raise UnsuitableImageError(f"the DICOM file holds {file.NumberOfFrames} frames; one is expected")
    # Values are computed with as float64, whatever they are stored as.
    width = max(8, int(file.get("BitsAllocated") or 8) // 8)
    claim(int(file.Columns), int(file.Rows), int(file.get("SamplesPerPixel") or 1) * width)


def _in_own_units(values: Values, file: Dataset) -> RawImage:
    if file.PhotometricInterpretation == "PALETTE COLOR":
        from pydicom.pixels.processing import apply_color_lut

        coloured = apply_color_lut(values, file)
        return RawImage(coloured, "colour", False, (0.0, float(np.iinfo(coloured.dtype).max)))
    if values.ndim == 3:
        return RawImage(values, "colour", False, (0.0, float(2 ** int(file.BitsStored) - 1)))
    slope, intercept = float(file.get("RescaleSlope") or 1), float(file.get("RescaleIntercept") or 0)
    rescaled = values[..., None].astype(np.float64) * slope + intercept
    ends = [end * slope + intercept for end in _stored_range(values, file)]
    inverted = file.PhotometricInterpretation == "MONOCHROME1"
    return RawImage(rescaled, "gray", False, (min(ends), max(ends)), inverted)


def _stored_range(values: Values, file: Dataset) -> tuple[float, float]:
    if values.dtype.kind == "f":
        return float(values.min()), float(values.max())
    bits = int(file.BitsStored)
    if int(file.PixelRepresentation):
        return float(-(2 ** (bits - 1))), float(2 ** (bits - 1) - 1)
    return 0.0, float(2**bits - 1)


def read_dicom_text(path: Path, keyword: str) -> str | None:
    """Text of one element of the header, such as PatientID; `None` if it is empty or not there."""
    import pydicom

    file = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=[keyword])
    value = file.get(keyword)
    return str(value).strip() or None if value is not None else None
