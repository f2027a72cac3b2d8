from __future__ import annotations

import inspect
import os
import sys
from pathlib import Path

import pytest

from transferflow.data.files import scan as scanning
from transferflow.data.files.fence import Fence
from transferflow.data.files.scan import scan_folder
from transferflow.data.snapshot.build import load_snapshot
from transferflow.data.snapshot.manifest import read_rows
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
    scan = scan_folder(Fence(tmp_path))
    assert scan.files == ["f0/a.png"]
    assert {finding.kind for finding in scan.findings} == {"listed_folder"}


def test_a_link_is_followed_where_nothing_else_leads(tmp_path):
    touch(tmp_path / ".store" / "cats" / "a.png")
    (tmp_path / "cat").symlink_to(tmp_path / ".store" / "cats")
    (tmp_path / "also").symlink_to(tmp_path / ".store" / "cats")
    (tmp_path / "up").symlink_to(tmp_path)
    scan = scan_folder(Fence(tmp_path))
    assert scan.files == ["also/a.png"]
    assert [finding.where for finding in scan.findings] == ["cat", "up"]


def test_a_tree_that_is_deeper_than_a_call_stack(tmp_path):
    touch(tmp_path / ("d/" * 300) / "a.png")
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack()) + 150)
    try:
        assert len(scan_folder(Fence(tmp_path)).files) == 1
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

    monkeypatch.setattr(scanning.os, "scandir", scandir)
    scan = scan_folder(Fence(tmp_path))
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


@pytest.mark.parametrize(
    "left", ["@eaDir", "Thumbs.db", "#recycle", "$RECYCLE.BIN", "__MACOSX", ".AppleDouble", "lost+found"]
)
def test_what_file_servers_leave_is_no_data(tmp_path, list_data, left):
    """Synology writes thumbnails into `@eaDir/NAME.jpg/SYNOPHOTO_THUMB_M.jpg`, in every folder."""
    for folder in ("", "cat/", "cat/deep/"):
        touch(tmp_path / folder / left / "a.png" / "SYNOPHOTO_THUMB_M.jpg")
        touch(tmp_path / (folder or "dog/") / "a.png")
    listing = list_data(tmp_path, format="image_folder")
    assert [record.path for record in listing.records] == ["cat/a.png", "cat/deep/a.png", "dog/a.png"]
    assert listing.classes == ("cat", "dog")
    (finding,) = listing.findings
    assert (finding.kind, finding.severity) == ("left_behind", "warning")
    assert finding.reason.endswith(f"skipped: {left} (3)")


def test_notes_of_a_mac_are_counted_as_one_kind(tmp_path, list_data):
    for name in ("cat/a.png", "cat/._a.png", "cat/.DS_Store", "dog/b.png", "dog/._b.png", "dog/.hidden.png"):
        touch(tmp_path / name)
    listing = list_data(tmp_path, format="image_folder")
    assert [record.path for record in listing.records] == ["cat/a.png", "dog/b.png"]
    assert sorted((f.kind, f.reason.rpartition(": ")[2]) for f in listing.findings) == [
        ("ignored_files", "1 hidden"),
        ("left_behind", "._* (2), .DS_Store (1)"),
    ]


@pytest.fixture
def linked(tmp_path):
    """A data set whose images are links into a store beside it, as DVC makes them."""
    root, store = tmp_path / "root", tmp_path / "cache" / "files"
    for number, path in enumerate(("cat/a.png", "cat/b.png", "dog/c.png")):
        real = touch(store / f"{number:02x}" / f"{number}")
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).symlink_to(real)
    return root


def test_links_that_leave_the_root_say_where_to_and_what_to_do(linked, list_data):
    with pytest.raises(DataError, match="no image stands in a class folder") as error:
        list_data(linked, format="image_folder")
    found = error.value.problems[0].found
    assert "; 3 refused, cat/a.png first: a link that leaves the data folder" in found
    assert "data.link_roots" in found
    scan = scan_folder(Fence(linked))
    assert [(f.kind, f.severity, f.where) for f in scan.findings] == [
        ("outside_root", "error", path) for path in ("cat/a.png", "cat/b.png", "dog/c.png")
    ]
    assert f"to {linked.parent}/cache/files/00/0: name the folder" in scan.findings[0].reason
    assert "data.link_roots" in scan.findings[0].reason


def test_links_may_lead_into_a_named_folder(linked, list_data):
    listing = list_data(linked, format="image_folder", link_roots=[str(linked.parent / "cache")])
    assert [record.path for record in listing.records] == ["cat/a.png", "cat/b.png", "dog/c.png"]
    assert not listing.findings
    other = touch(linked.parent / "other" / "x.png")
    (linked / "cat" / "x.png").symlink_to(other)
    (linked / "bird").symlink_to(other.parent)
    listing = list_data(linked, format="image_folder", link_roots=[str(linked.parent / "cache")])
    assert [f.where for f in listing.findings if f.kind == "outside_root"] == ["bird", "cat/x.png"]


def test_paths_of_a_table_may_lead_there_too(linked, list_data):
    rows = "cat/a.png,cat\n../cache/files/00/0,cat\n"
    (linked / "t.csv").write_text(f"path,label\n{rows}")
    fields = {"format": "csv", "file": "t.csv", "link_roots": [str(linked.parent / "cache")]}
    listing = list_data(linked, **fields)
    assert [record.path for record in listing.records] == ["cat/a.png"]
    assert [(f.kind, f.where) for f in listing.findings] == [("outside_root", "t.csv:3")]


def test_a_folder_of_links_that_is_not_there(linked, list_data):
    with pytest.raises(DataError, match=r"data\.link_roots: the data folder does not exist"):
        list_data(linked, format="image_folder", link_roots=["nowhere"])


def test_what_links_lead_to_is_read_again_from_a_snapshot(tmp_path, paint, snapshot_of):
    root, store = tmp_path / "root", tmp_path / "store"
    for number in range(12):
        real = paint(store / f"{number}.png", seed=number)
        (root / "cd"[number % 2]).mkdir(parents=True, exist_ok=True)
        (root / "cd"[number % 2] / f"{number}.png").symlink_to(real)
    snapshot = snapshot_of(root, format="image_folder", link_roots=[str(store)])
    row = read_rows(load_snapshot(snapshot.path))[0]
    assert row.absolute_path == store / row.path.rpartition("/")[2]
    (root / row.path).unlink()
    (root / row.path).symlink_to(tmp_path / "elsewhere.png")
    with pytest.raises(DataError, match="a path leaves the data folder"):
        _ = row.absolute_path


def test_a_file_address_is_the_folder(linked, list_data):
    plain = list_data(linked, format="image_folder", link_roots=[str(linked.parent / "cache")])
    fields = {"format": "image_folder", "link_roots": [str(linked.parent / "cache")]}
    assert list_data(f"file://{linked}", **fields) == plain
