"""DICOM files through pydicom (an optional package)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from transferflow.data.files.pixels import RawImage, UnsuitableImageError, Values
from transferflow.errors import DataError, MissingDependencyError

if TYPE_CHECKING:
    from pydicom import Dataset

DICOM_SUFFIXES = frozenset({".dcm", ".dicom"})


def has_dicom_preamble(head: bytes) -> bool:
    """Whether a file that starts with these 132 bytes is DICOM."""
    return head[128:132] == b"DICM"


def read_dicom(path: Path, max_pixels: int) -> RawImage:
    """Read the image of a DICOM file in its own units (Hounsfield units for CT).

    The rescale slope and intercept are applied. MONOCHROME1 is marked as inverted.

    Raises:
        DataError: If it is no DICOM file.
        UnsuitableImageError: If it holds no image, or several.
        DecompressionBombError: If it is too large. A damaged file raises anything.
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
        file = pydicom.dcmread(path)
    except (InvalidDicomError, EOFError) as error:
        raise DataError(f"the file is not valid DICOM: {error}", where=str(path)) from error
    _check_frame(file, max_pixels)
    return _in_own_units(np.asarray(pixel_array(file)), file)


def _check_frame(file: Dataset, max_pixels: int) -> None:
    if "PixelData" not in file and "FloatPixelData" not in file and "DoubleFloatPixelData" not in file:
        raise UnsuitableImageError("the DICOM file holds no image")
    if int(file.get("NumberOfFrames") or 1) > 1:
        raise UnsuitableImageError(f"the DICOM file holds {file.NumberOfFrames} frames; one is expected")
    if int(file.Rows) * int(file.Columns) > max_pixels:
        raise Image.DecompressionBombError


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
