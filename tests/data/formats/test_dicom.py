from __future__ import annotations

import numpy as np
import pytest

from transferflow.data.snapshot.manifest import read_rows
from transferflow.errors import DataError

pydicom = pytest.importorskip("pydicom")


def write_dicom(path, seed=0, patient="p"):
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

    path.parent.mkdir(parents=True, exist_ok=True)
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    file = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    file.PatientID = patient
    file.SOPClassUID = SecondaryCaptureImageStorage
    file.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    file.Rows, file.Columns = 16, 24
    file.SamplesPerPixel, file.PhotometricInterpretation = 1, "MONOCHROME2"
    file.BitsAllocated, file.BitsStored, file.HighBit, file.PixelRepresentation = 16, 12, 11, 0
    file.PixelData = np.random.default_rng(seed).integers(0, 4096, (16, 24), np.uint16).tobytes()
    file.save_as(path, enforce_file_format=True)


def test_class_folders_with_patients(tmp_path, snapshot_of):
    for i in range(60):
        name = ("1.2.840." + str(i)) if i % 2 else f"{i}.dcm"
        write_dicom(tmp_path / ("ill" if i % 3 else "well") / name, i, f"patient {i // 3}")
    (tmp_path / "ill" / "notes.txt").write_text("x")
    snapshot = snapshot_of(tmp_path, format="dicom")
    assert snapshot.classes == ("ill", "well")
    assert snapshot.channels == 1
    rows = read_rows(snapshot)
    assert len(rows) == 60
    assert {row.group for row in rows} == {f"patient {i}" for i in range(20)}
    splits = {}
    for row in rows:
        splits.setdefault(row.group, set()).add(row.split)
    assert all(len(found) == 1 for found in splits.values())


def test_a_table_of_paths(tmp_path, list_data):
    write_dicom(tmp_path / "a")
    (tmp_path / "labels.csv").write_text("path,label\na,x\nb,y\n")
    listing = list_data(tmp_path, format="dicom", file="labels.csv")
    assert [(r.id, r.labels) for r in listing.records] == [("a", ("x",))]
    assert [(f.where, f.kind) for f in listing.findings] == [("labels.csv:3", "missing")]


def test_no_dicom(tmp_path, paint, list_data):
    paint(tmp_path / "x" / "a.png")
    with pytest.raises(DataError, match="no DICOM file"):
        list_data(tmp_path, format="dicom")


def test_a_header_without_the_group_is_an_error(tmp_path, snapshot_of):
    for i in range(30):
        write_dicom(tmp_path / ("ill" if i % 3 else "well") / f"{i}.dcm", i)
    with pytest.raises(DataError, match="its header has no 'StudyID'"):
        snapshot_of(tmp_path, format="dicom", split={"group_by": "StudyID"})


def test_rows_of_a_table_without_groups_are_grouped_by_patient(tmp_path, snapshot_of):
    lines = ["path,label"]
    for i in range(60):
        write_dicom(tmp_path / f"{i}.dcm", i, f"patient {i // 3}")
        lines.append(f"{i}.dcm,{'xy'[i % 2]}")
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    rows = read_rows(snapshot_of(tmp_path, format="dicom", file="labels.csv"))
    assert {row.group for row in rows} == {f"patient {i}" for i in range(20)}
