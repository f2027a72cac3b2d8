"""`weights.lock`: which files the specs of a folder were trained from, as a lock file pins packages."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from transferflow.errors import MissingDependencyError, Problem, WeightsError
from transferflow.limits import MAX_LOCK_BYTES
from transferflow.models.weights.downloads import OnBytes
from transferflow.models.weights.files import WeightFile, fetch_weights, find_weights
from transferflow.store import file_digest, known_digest, read_bounded, write_atomic

FORMAT = 1
NAME = "weights.lock"
VARIABLE = "TRANSFERFLOW_WEIGHTS_LOCK"
_WRITE_HINT = "`transferflow weights lock SPEC…` writes the lock file anew"


@dataclass(frozen=True)
class LockEntry:
    """One pinned file.

    Attributes:
        source: torchvision, timm, checkpoint or package.
        name: Model's name.
        tag: Name of the weights.
        address: URL, repository and file, path, or distribution and file.
        sha256: Of the whole file.
        licence: What its publisher says; empty when unknown.
        mean: Per channel, on the 0..1 scale.
        std: Per channel, on the 0..1 scale.
    """

    source: str
    name: str
    tag: str
    address: str
    sha256: str
    licence: str
    mean: tuple[float, ...]
    std: tuple[float, ...]


def lock_path() -> Path:
    """`$TRANSFERFLOW_WEIGHTS_LOCK`, or `weights.lock` in the working directory."""
    return Path(os.environ.get(VARIABLE) or NAME)


def active_lock() -> Mapping[str, LockEntry] | None:
    """Entries of the lock file that holds here, by address; `None` where there is no lock file.

    Raises:
        WeightsError: If the lock file can't be read, or the variable names one that is not there.
    """
    path = lock_path()
    if path.exists():
        return read_lock(path)
    if os.environ.get(VARIABLE):
        raise WeightsError(
            "there is no such lock file: the weights can't be verified",
            where=VARIABLE,
            found=str(path),
            hint=f"{_WRITE_HINT}; or correct the variable, or unset it",
        )
    return None


def read_lock(path: Path) -> Mapping[str, LockEntry]:
    """Entries by address; none where there is no such file.

    Raises:
        WeightsError: If the file is not a lock file.
    """
    try:
        document = json.loads(read_bounded(path, MAX_LOCK_BYTES))
        if document["format"] != FORMAT:
            raise ValueError(f"format {document['format']}")
        entries = [_entry(values) for values in document["weights"]]
        twice = [address for address, n in Counter(entry.address for entry in entries).items() if n > 1]
        if twice:
            raise ValueError(f"two entries for {twice[0]}")
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise WeightsError(
            "the lock file can't be read",
            where=str(path),
            found=f"{type(error).__name__}: {error}"[:300],
            hint=f"remove it; {_WRITE_HINT}",
        ) from error
    return {entry.address: entry for entry in entries}


def write_lock(path: Path, entries: Sequence[LockEntry]) -> None:
    """Write the entries, sorted, so that a new one is one change in a diff."""
    ordered = sorted(entries, key=lambda entry: (entry.source, entry.name, entry.tag, entry.address))
    document = {"format": FORMAT, "weights": [asdict(entry) for entry in ordered]}
    write_atomic(path, json.dumps(document, indent=2, ensure_ascii=False) + "\n")


def lock_weights(file: WeightFile, path: Path) -> LockEntry:
    """Pin a file that lies at `path`."""
    return LockEntry(
        source=file.source,
        name=file.name,
        tag=file.tag,
        address=file.address,
        sha256=file_digest(path),
        licence=file.licence,
        mean=file.mean,
        std=file.std,
    )


def verified_weights(file: WeightFile, *, offline: bool = False, progress: OnBytes | None = None) -> Path:
    """Path of the file, downloaded where needed; where there is a lock file, it must hold just this file.

    Raises:
        WeightsError: If the file can't be had, is not the one that was asked for, or not the one locked.
    """
    locked = locked_sha256(file)
    path = fetch_weights(file, offline=offline, progress=progress)
    found = known_digest(path) if locked else None
    if found != locked:
        raise WeightsError(
            "the weights file is not the one that was locked",
            where=str(path),
            found=f"sha256 {found}",
            allowed=f"sha256 {locked} ({lock_path()})",
            hint=f"fetch the right file, or, if the change is wanted: {_WRITE_HINT}",
        )
    return path


def check_weights(file: WeightFile) -> None:
    """Hold a file against its hash and the lock file, if it is on this machine; else look for its entry.

    Raises:
        WeightsError: If it is another file, or the lock file has no entry for it.
    """
    if find_weights(file) is None:
        locked_sha256(file)
    else:
        verified_weights(file, offline=True)


def locked_sha256(file: WeightFile) -> str | None:
    """Hash that the lock file gives the file; `None` where there is no lock file.

    Raises:
        WeightsError: If there is a lock file without an entry for it.
    """
    entries = active_lock()
    if entries is None:
        return None
    if file.address not in entries:
        raise WeightsError(
            f"the weights {file.tag} of {file.name} are not in the lock file",
            where=str(lock_path()),
            found=f"no entry for {file.address}",
            hint=f"{_WRITE_HINT}; commit it with the spec",
        )
    return entries[file.address].sha256


def for_each_file(files: Iterable[WeightFile], act: Callable[[WeightFile], object]) -> None:
    """Do it for every file, whatever became of those before it.

    Raises:
        WeightsError: If it failed for some; carries the problems of all of them.
    """
    problems: list[Problem] = []
    for file in files:
        try:
            act(file)
        except (WeightsError, MissingDependencyError) as error:
            problems += error.problems
    if problems:
        # What is wrong with the lock file as a whole is said once.
        raise WeightsError.from_problems(list(dict.fromkeys(problems)))


def _entry(values: Mapping[str, Any]) -> LockEntry:
    return LockEntry(
        **{key: str(values[key]) for key in ("source", "name", "tag", "address", "sha256", "licence")},
        mean=tuple(float(value) for value in values["mean"]),
        std=tuple(float(value) for value in values["std"]),
    )
