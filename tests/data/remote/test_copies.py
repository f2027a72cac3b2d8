import os
from concurrent.futures import ThreadPoolExecutor

import fsspec
import pytest

from transferflow.data.remote import copies
from transferflow.data.remote.copies import forget_copies, local_copy, same_source
from transferflow.data.remote.objects import MovedError, RemoteFolder
from transferflow.errors import DataError

ADDRESS = "memory://shop/set"


@pytest.fixture
def shop(data_cache):
    """Three files in a store that this process holds."""
    system = fsspec.filesystem("memory")
    for name in ("red/1.png", "red/2.png", "blue/3.png"):
        system.pipe(f"/shop/set/{name}", name.encode())
    yield system
    system.rm("/shop", recursive=True)


@pytest.fixture
def fetched(monkeypatch):
    """Paths of the files that were fetched so far."""
    found, fetch = [], RemoteFolder.fetch

    def note(remote, file, target):
        found.append(file.path)
        fetch(remote, file, target)

    monkeypatch.setattr(RemoteFolder, "fetch", note)
    return found


def files_of(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def let_go():
    """As if the process had ended."""
    for held in copies._held.values():
        held.release()
    copies._held.clear()


def test_a_folder_is_fetched_once(shop, fetched):
    root = local_copy(ADDRESS)
    assert files_of(root) == {name: name.encode() for name in ("red/1.png", "red/2.png", "blue/3.png")}
    assert local_copy(f"{ADDRESS}/") == root
    assert len(fetched) == 3


def test_only_what_changed_is_fetched_and_a_copy_in_use_stays_as_it_is(shop, fetched):
    first = local_copy(ADDRESS)
    before = files_of(first)
    shop.pipe("/shop/set/red/1.png", b"2/png.der")  # as long as before
    shop.pipe("/shop/set/new/4.png", b"4")
    shop.rm("/shop/set/red/2.png")
    fetched.clear()
    second = local_copy(ADDRESS)
    assert sorted(fetched) == ["new/4.png", "red/1.png"]
    assert files_of(second) == {"red/1.png": b"2/png.der", "new/4.png": b"4", "blue/3.png": b"blue/3.png"}
    assert files_of(first) == before
    assert (first / "blue/3.png").samefile(second / "blue/3.png")
    assert same_source(first, second)
    assert not same_source(first, second / "red")


def test_former_copies_go_when_nobody_uses_them(shop):
    roots = []
    for number in range(5):
        shop.pipe("/shop/set/red/1.png", b"x" * number)
        roots.append(local_copy(ADDRESS))
        let_go()
        os.utime(roots[-1].parent, (number, number))
    assert [root.is_dir() for root in roots] == [False, False, False, True, True]
    held = local_copy(ADDRESS)
    for number in range(5):
        shop.pipe("/shop/set/red/1.png", b"z" * number)
        local_copy(ADDRESS)
    assert held.is_dir()


def test_what_is_missing_or_cut_on_disk_is_fetched_again(shop, fetched):
    root = local_copy(ADDRESS)
    (root / "red/1.png").unlink()
    (root / "red/2.png").unlink()
    (root / "red/2.png").write_bytes(b"cut")
    fetched.clear()
    assert files_of(local_copy(ADDRESS))["red/2.png"] == b"red/2.png"
    assert sorted(fetched) == ["red/1.png", "red/2.png"]


def test_damage_that_size_and_time_hide_is_fetched_again_when_it_is_asked_for(shop):
    root = local_copy(ADDRESS)
    file = root / "red/1.png"
    status = file.stat()
    file.chmod(0o644)
    file.write_bytes(b"rotten.ng")
    os.utime(file, ns=(status.st_mtime_ns, status.st_mtime_ns))
    assert files_of(local_copy(ADDRESS))["red/1.png"] == b"rotten.ng"
    forget_copies(ADDRESS)  # in use
    assert file.exists()
    let_go()
    forget_copies(f"{ADDRESS}/")
    assert files_of(local_copy(ADDRESS))["red/1.png"] == b"red/1.png"
    forget_copies("memory://shop/another")


def test_files_and_folders_have_the_times_of_their_data(shop):
    root = local_copy(ADDRESS)
    listed = {file.path: file.version for file in RemoteFolder(ADDRESS).list()}
    assert {name: (root / name).stat().st_mtime_ns for name in listed} == listed
    assert (root / "red").stat().st_mtime_ns == max(listed["red/1.png"], listed["red/2.png"])
    assert root.stat().st_mtime_ns == max(listed.values())


def test_the_cache_is_bounded_and_what_is_in_use_stays(shop, monkeypatch):
    shop.pipe("/shop/large/a.png", b"a" * 600)
    shop.pipe("/shop/other/b.png", b"b" * 600)
    monkeypatch.setenv("TRANSFERFLOW_DATA_CACHE_GB", "1e-6")
    large = local_copy("memory://shop/large")
    with pytest.raises(DataError, match="does not fit into the local cache") as caught:
        local_copy("memory://shop/other")
    assert "TRANSFERFLOW_DATA_CACHE_GB" in str(caught.value)
    assert files_of(large) == {"a.png": b"a" * 600}
    let_go()
    other = local_copy("memory://shop/other")
    assert files_of(other) == {"b.png": b"b" * 600}
    assert not large.exists()


@pytest.mark.parametrize("text", ["much", "0", "inf", "nan"])
def test_a_size_that_is_none_is_refused(shop, monkeypatch, text):
    monkeypatch.setenv("TRANSFERFLOW_DATA_CACHE_GB", text)
    with pytest.raises(DataError, match="this is no size"):
        local_copy(ADDRESS)


def test_a_folder_that_changes_while_it_is_fetched_is_listed_anew(shop, monkeypatch):
    fetch, changed = RemoteFolder.fetch, []

    def change(remote, file, target):
        if file.path == "red/1.png" and not changed:
            changed.append(file.path)
            shop.pipe("/shop/set/red/1.png", b"another")
        fetch(remote, file, target)

    monkeypatch.setattr(RemoteFolder, "fetch", change)
    assert files_of(local_copy(ADDRESS))["red/1.png"] == b"another"
    assert changed


def test_a_folder_that_never_rests_is_refused(shop, monkeypatch):
    def move(_remote, file, _target):
        raise MovedError(file.path)

    monkeypatch.setattr(RemoteFolder, "fetch", move)
    with pytest.raises(DataError, match=r"changes while it is fetched(?s:.*)png is not what was listed"):
        local_copy(ADDRESS)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("a//b.png", "a name that no file can have"),
        ("a/../../b.png", "a name that no file can have"),
        ("a/" + "b" * 256, "a name that no file can have"),
        ("red/1.png/b.png", "a folder is a file as well"),
    ],
)
def test_names_that_can_not_be_files_are_refused(shop, monkeypatch, name, words):
    listed = RemoteFolder.list

    def with_another(remote):
        files = listed(remote)
        return [*files, type(files[0])(name, 1, 1)]

    monkeypatch.setattr(RemoteFolder, "list", with_another)
    with pytest.raises(DataError, match=words):
        local_copy(ADDRESS)


def test_several_at_once_fetch_each_file_once(shop, fetched):
    with ThreadPoolExecutor(4) as pool:
        roots = set(pool.map(local_copy, [ADDRESS] * 4))
    assert len(roots) == 1
    assert sorted(fetched) == ["blue/3.png", "red/1.png", "red/2.png"]
