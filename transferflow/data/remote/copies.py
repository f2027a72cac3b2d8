"""Local copies of remote folders: what reads images is given one, and it stays as it is while it is used.

```
<cache>/<digest of the address>/<digest of the listing>/files/    a copy: the folder as it was listed
<cache>/<digest of the address>/<digest of the listing>/partial/  what is being fetched
```
A copy is never changed: a later listing makes another one, which shares by hard links what has not changed,
so that a training goes on reading what it was prepared from. The locks are those of `store.in_use`.
"""

from __future__ import annotations

import os
import shutil
import time
import uuid
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

from transferflow.data.remote.objects import MovedError, RemoteFile, RemoteFolder
from transferflow.errors import DataError
from transferflow.logs import get_logger
from transferflow.store import digest
from transferflow.store.in_use import FolderInUse, filling, remove_if_unused

logger = get_logger("data")

FOLDER_VARIABLE, SIZE_VARIABLE = "TRANSFERFLOW_DATA_CACHE", "TRANSFERFLOW_DATA_CACHE_GB"
DEFAULT_GB = 100.0
_FILES, _PARTIAL = "files", "partial"
_CONNECTIONS = 16
_LISTINGS = 3
"""How often a folder is listed anew because it changed while it was fetched."""
_KEPT = 2
"""Copies of one folder that stay beside those in use, while there is room."""
_SECONDS_BETWEEN_LOGS = 20.0
_held: dict[Path, FolderInUse] = {}


def local_copy(address: str) -> Path:
    """A folder of this machine with what the remote folder holds now; it stays until this process ends.

    Files that a former copy holds are not fetched again: they are known by path, size, time and etag.

    Raises:
        DataError: If the folder can't be listed or read, keeps changing, or does not fit into the cache.
        MissingDependencyError: If the package for its kind of address is not installed.
    """
    remote = RemoteFolder(address)
    moved = ""
    for _ in range(_LISTINGS):
        try:
            return _copy_of(remote, remote.list())
        except MovedError as error:
            moved = str(error)
    raise DataError(
        "the data folder changes while it is fetched",
        where="data.root",
        found=f"{remote.address}: {moved} is not what was listed",
        hint="run it again when whoever writes there is done",
    )


def forget_copies(address: str) -> None:
    """Remove what is here of a remote folder, so that all of it is fetched again; what is in use stays."""
    folder = _folder_of(address)
    for copy in _folders(folder) if folder.is_dir() else ():
        if not remove_if_unused(copy):
            logger.warning("%s is in use: its files are not fetched again", copy)


def _folder_of(address: str) -> Path:
    return cache_folder() / digest(address.rstrip("/"))[:16]


def same_source(one: Path, other: Path) -> bool:
    """Whether two roots are one folder, or copies of one remote folder: equal paths there, equal files."""
    if one == other:
        return True
    places = [root.parent.parent for root in (one, other) if root.name == _FILES]
    return len(places) == 2 and places[0] == places[1] and places[0].parent == cache_folder()


def cache_folder() -> Path:
    """`$TRANSFERFLOW_DATA_CACHE`, or `transferflow/data` in the user's cache folder."""
    user = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.environ.get(FOLDER_VARIABLE) or f"{user}/transferflow/data").expanduser().resolve()


def _limit() -> int:
    """Bytes that all copies together may take.

    Raises:
        DataError: If the variable does not say a number.
    """
    text = os.environ.get(SIZE_VARIABLE) or str(DEFAULT_GB)
    try:
        found = float(text)
    except ValueError:
        found = -1.0
    if not 0 < found < float("inf"):
        raise DataError("this is no size", where=SIZE_VARIABLE, found=text, allowed="GB, as in 200")
    return round(found * 1e9)


def _copy_of(remote: RemoteFolder, listed: Sequence[RemoteFile]) -> Path:
    _require_names(remote, listed)
    content = digest([[file.path, file.size, file.version] for file in listed])
    copy = _folder_of(remote.address) / content[:32]
    copy.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    held = _held.get(copy) or FolderInUse(copy)
    with filling(copy):
        lacking = [file for file in listed if not _is_there(copy / _FILES / file.path, file)]
        if lacking:
            _fill(remote, copy, lacking)
            _date_folders(copy / _FILES, listed)
    _held[copy] = held
    return copy / _FILES


def _require_names(remote: RemoteFolder, listed: Sequence[RemoteFile]) -> None:
    """Refuse a folder that can't be laid down as files: nothing of a data set is left out silently."""
    paths = {file.path for file in listed}
    for path in paths:
        parts = path.split("/")
        odd = "\0" in path or any(part in ("", ".", "..") for part in parts)
        both = any("/".join(parts[:depth]) in paths for depth in range(1, len(parts)))
        if odd or both or any(len(os.fsencode(part)) > 255 for part in parts):
            raise DataError(
                "an object has a name that no file can have" if not both else "a folder is a file as well",
                where="data.root",
                found=f"{remote.address}: {path!r}",
                hint="rename or remove the object",
            )


def _is_there(path: Path, file: RemoteFile) -> bool:
    try:
        status = os.lstat(path)
    except OSError:
        return False
    return (status.st_size, status.st_mtime_ns) == (file.size, file.version)


def _fill(remote: RemoteFolder, copy: Path, lacking: Sequence[RemoteFile]) -> None:
    shutil.rmtree(copy / _PARTIAL, ignore_errors=True)  # of a process that was killed
    (copy / _PARTIAL).mkdir()
    for folder in {(copy / _FILES / file.path).parent for file in lacking}:
        folder.mkdir(parents=True, exist_ok=True)
    former = _others(copy.parent, copy)[:_KEPT]
    wanted = [file for file in lacking if not _link(copy, file, former)]
    if wanted:
        _make_room(remote, copy, sum(file.size for file in wanted))
        _fetch(remote, copy, wanted)
    for old in _others(copy.parent, copy)[_KEPT - 1 :]:
        remove_if_unused(old)


def _link(copy: Path, file: RemoteFile, former: Sequence[Path]) -> bool:
    """Take a file over from the copy of a former listing."""
    for other in former:
        source = other / _FILES / file.path
        if _is_there(source, file):
            beside = copy / _PARTIAL / uuid.uuid4().hex
            try:
                os.link(source, beside)
            except OSError:  # removed meanwhile, or a disk without links
                continue
            beside.replace(copy / _FILES / file.path)
            return True
    return False


def _others(folder: Path, own: Path) -> list[Path]:
    """Other copies in a folder, the one that was used last first."""
    found = [path for path in folder.iterdir() if path.is_dir() and path != own]
    return sorted(found, key=_last_use, reverse=True)


def _last_use(copy: Path) -> float:
    try:
        return copy.stat().st_mtime
    except OSError:  # removed meanwhile, as nobody used it
        return 0.0


def _fetch(remote: RemoteFolder, copy: Path, wanted: Sequence[RemoteFile]) -> None:
    total = sum(file.size for file in wanted)
    logger.info("fetching %d files (%.1f MB) of %s", len(wanted), total / 1e6, remote.address)

    def fetch(file: RemoteFile) -> int:
        beside = copy / _PARTIAL / uuid.uuid4().hex
        remote.fetch(file, beside)
        beside.chmod(0o444)  # later copies share it
        os.utime(beside, ns=(file.version, file.version))
        beside.replace(copy / _FILES / file.path)
        return file.size

    done, said = 0, time.monotonic()
    with ThreadPoolExecutor(_CONNECTIONS) as pool:
        try:
            for size in pool.map(fetch, wanted):
                done += size
                if time.monotonic() - said > _SECONDS_BETWEEN_LOGS:
                    said = time.monotonic()
                    logger.info("fetched %.1f of %.1f MB", done / 1e6, total / 1e6)
        finally:
            pool.shutdown(cancel_futures=True)


def _make_room(remote: RemoteFolder, copy: Path, needed: int) -> None:
    """Remove copies that nobody uses, longest unused first, until what is needed fits.

    Raises:
        DataError: If it does not fit.
    """
    limit = _limit()
    others = [path for folder in _folders(cache_folder()) for path in _others(folder, copy)]
    others.sort(key=_last_use)
    while _bytes([copy, *others]) + needed > limit:
        gone = next((path for path in others if remove_if_unused(path)), None)
        if gone is None:
            raise DataError(
                "the data set does not fit into the local cache, beside what is in use there",
                where="data.root",
                found=f"{remote.address}: {needed / 1e9:.2f} GB to fetch",
                allowed=f"{limit / 1e9:g} GB in all, in {cache_folder()}",
                hint=f"set {SIZE_VARIABLE} to more, and {FOLDER_VARIABLE} to a disk that has it",
            )
        others.remove(gone)


def _folders(place: Path) -> list[Path]:
    return [path for path in place.iterdir() if path.is_dir()]


def _bytes(copies: Iterable[Path]) -> int:
    """Bytes of the files of copies; one that several share counts once."""
    return sum(dict(size for copy in copies for size in _sizes(copy)).values())


def _sizes(copy: Path) -> Iterator[tuple[tuple[int, int], int]]:
    for folder, _, files in os.walk(copy):
        for name in files:
            try:
                status = os.lstat(f"{folder}/{name}")
            except OSError:
                continue
            yield (status.st_dev, status.st_ino), status.st_size


def _date_folders(root: Path, listed: Sequence[RemoteFile]) -> None:
    """A folder is as old as its youngest file: when it was fetched says nothing of the data."""
    youngest: defaultdict[PurePosixPath, int] = defaultdict(int)
    for file in listed:
        for folder in PurePosixPath(file.path).parents:
            youngest[folder] = max(youngest[folder], file.version)
    for folder, version in youngest.items():
        os.utime(root / folder, ns=(version, version))
