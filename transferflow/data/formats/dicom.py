"""`dicom`: a folder per class, or a table of paths."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from transferflow.data.files.dicom_pixels import DICOM_SUFFIXES, has_dicom_preamble
from transferflow.data.files.fence import Fence
from transferflow.data.files.members import require_file
from transferflow.data.files.scan import scan_folder
from transferflow.data.formats.image_folder import records_of_folders
from transferflow.data.formats.table import list_rows
from transferflow.data.formats.table_file import open_csv
from transferflow.data.records import Listing
from transferflow.errors import DataError
from transferflow.spec.sections.data import DicomData
from transferflow.spec.sections.truth import Truth

_ANY: frozenset[str] = frozenset()


def list_dicom(data: DicomData, truth: Truth, fence: Fence) -> Listing:
    """List DICOM files, known by their extension or their preamble.

    Raises:
        DataError: If the table or the root is missing, or no class folder holds a DICOM file.
    """
    if data.file is not None:
        file = require_file(fence, data.file, "data.file")
        return list_rows(data, truth, fence, file, open_csv(file))
    root = fence.root
    scan = scan_folder(fence, suffixes=_ANY)
    files = [file for file in scan.files if _is_dicom(root / file)]
    scan.ignored["not DICOM"] += len(scan.files) - len(files)
    records, findings = records_of_folders(
        replace(scan, files=files, ignored=+scan.ignored), data.classes or ()
    )
    if not records:
        raise DataError(
            "no DICOM file stands in a class folder",
            where="data.root",
            found=f"{root}: {len(files)} DICOM files and the folders {scan.folders[:10]}",
            allowed="root/CLASS/image.dcm, or root/train/CLASS/image.dcm with val and test beside train",
        )
    classes = data.classes or tuple(sorted({label for record in records for label in record.labels}))
    return Listing(root, classes, tuple(records), tuple(findings))


def _is_dicom(file: Path) -> bool:
    if file.suffix.lower() in DICOM_SUFFIXES:
        return True
    try:
        with file.open("rb") as stream:
            return has_dicom_preamble(stream.read(132))
    except OSError:
        return False
