from __future__ import annotations

import inspect
import os
import sys
from pathlib import Path

import pytest

from transferflow.data.files import paths
from transferflow.data.files.paths import scan_folder
from transferflow.errors import DataError
from transferflow.inference.image_files import list_images


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    return path


def test_folders_that_link_to_each_other_are_listed_once(tmp_path):
    """Seven folders with links to each other: 1,957 records of one image."""
    folders = [tmp_path / f"f{number}" for number in range(7)]
    for folder in folders:
        folder.mkdir()
    touch(folders[0] / "a.png")
    for folder in folders:
        for other in folders:
            if other != folder:
                (folder / f"to_{other.name}").symlink_to(other)
    scan = scan_folder(tmp_path)
    assert scan.files == ["f0/a.png"]
    assert {finding.kind for finding in scan.findings} == {"listed_folder"}


def test_a_link_is_followed_where_nothing_else_leads(tmp_path):
    touch(tmp_path / ".store" / "cats" / "a.png")
    (tmp_path / "cat").symlink_to(tmp_path / ".store" / "cats")
    (tmp_path / "also").symlink_to(tmp_path / ".store" / "cats")
    (tmp_path / "up").symlink_to(tmp_path)
    scan = scan_folder(tmp_path)
    assert scan.files == ["also/a.png"]
    assert [finding.where for finding in scan.findings] == ["cat", "up"]


def test_a_tree_that_is_deeper_than_a_call_stack(tmp_path):
    touch(tmp_path / ("d/" * 300) / "a.png")
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack()) + 150)
    try:
        assert len(scan_folder(tmp_path).files) == 1
        assert len(list_images([tmp_path], tmp_path / "out")) == 1
    finally:
        sys.setrecursionlimit(limit)


def test_a_folder_that_can_not_be_read_is_named(tmp_path, monkeypatch):
    touch(tmp_path / "a" / "1.png")
    touch(tmp_path / "b" / "1.png")
    scan_all = os.scandir

    def scandir(path):
        if str(path).endswith("/a"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan_all(path)

    monkeypatch.setattr(paths.os, "scandir", scandir)
    scan = scan_folder(tmp_path)
    assert scan.files == ["b/1.png"]
    assert [(f.kind, f.severity, f.where) for f in scan.findings] == [("unreadable_folder", "error", "a")]
    assert "Permission denied" in scan.findings[0].reason
    with pytest.raises(DataError, match="Permission denied"):
        list_images([tmp_path], tmp_path / "out")


def test_a_pipe_among_the_images_is_named_and_not_opened(tmp_path, list_data):
    touch(tmp_path / "cat" / "a.png")
    os.mkfifo(tmp_path / "cat" / "b.png")
    listing = list_data(tmp_path, format="image_folder")
    assert [record.path for record in listing.records] == ["cat/a.png"]
    assert [finding.kind for finding in listing.findings] == ["not_a_file"]
