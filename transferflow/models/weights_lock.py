"""`weights.lock`: which files the specs of a folder were trained from, as a lock file pins packages."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from transferflow.errors import WeightsError
from transferflow.models.downloads import Progress, file_sha256
from transferflow.models.weight_files import WeightFile, fetch_weights
from transferflow.store import write_atomic

FORMAT = 1
NAME = "weights.lock"


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
    return Path(os.environ.get("TRANSFERFLOW_WEIGHTS_LOCK") or NAME)


def read_lock(path: Path) -> Mapping[str, LockEntry]:
    """Entries by address; none where there is no such file.

    Raises:
        WeightsError: If the file is not a lock file.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["format"] != FORMAT:
            raise ValueError(f"format {document['format']}")
        entries = [_entry(values) for values in document["weights"]]
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise WeightsError(
            "the lock file can't be read",
            where=str(path),
            found=f"{type(error).__name__}: {error}"[:300],
            hint="delete it and write it anew with `transferflow weights lock SPEC…`",
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
        sha256=file_sha256(path),
        licence=file.licence,
        mean=file.mean,
        std=file.std,
    )


def verified_weights(file: WeightFile, *, offline: bool = False, progress: Progress | None = None) -> Path:
    """Path of the file, downloaded where needed; where there is a lock file, it must hold just this file.

    Raises:
        WeightsError: If the file can't be had, is not the one that was asked for, or not the one locked.
    """
    path = fetch_weights(file, offline=offline, progress=progress)
    lock = lock_path()
    if lock.is_file():
        check_lock(read_lock(lock), file, path, where=lock)
    return path


def check_lock(entries: Mapping[str, LockEntry], file: WeightFile, path: Path, *, where: Path) -> None:
    """Compare the file with its entry.

    Raises:
        WeightsError: If there is no entry, or another hash in it.
    """
    entry = entries.get(file.address)
    hint = "`transferflow weights lock SPEC…` writes the lock file anew"
    if entry is None:
        raise WeightsError(
            f"the weights {file.tag} of {file.name} are not in the lock file",
            where=str(where),
            found=f"no entry for {file.address}",
            hint=f"{hint}; commit it with the spec",
        )
    found = file_sha256(path)
    if found != entry.sha256:
        raise WeightsError(
            "the weights file is not the one that was locked",
            where=str(path),
            found=f"sha256 {found}",
            allowed=f"sha256 {entry.sha256} ({where})",
            hint=f"fetch the right file, or, if the change is wanted: {hint}",
        )


def _entry(values: Mapping[str, Any]) -> LockEntry:
    return LockEntry(
        **{key: str(values[key]) for key in ("source", "name", "tag", "address", "sha256", "licence")},
        mean=tuple(float(value) for value in values["mean"]),
        std=tuple(float(value) for value in values["std"]),
    )
