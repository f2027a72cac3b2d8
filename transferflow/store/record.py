"""The record of an artifact: what it was made from, and a hash of each of its files and of itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transferflow.errors import StoreError
from transferflow.store.files import file_digest, known_digest
from transferflow.store.sealed import read_sealed, write_sealed

RECORD = "record.json"


@dataclass(frozen=True)
class Record:
    """What `record.json` says.

    Attributes:
        inputs: What the artifact's key was made from.
        files: Size in bytes and sha256 (hex) of each file, by its path below the artifact's folder.
        key: The artifact's key.
    """

    inputs: Mapping[str, Any]
    files: Mapping[str, tuple[int, str]]
    key: str


def write_record(folder: Path, stage: str, key: str, inputs: Mapping[str, Any]) -> None:
    """Hash every file below `folder` and write the record beside them."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    content = {
        "stage": stage,
        "key": key,
        "inputs": inputs,
        "files": {
            path.relative_to(folder).as_posix(): [path.stat().st_size, file_digest(path)] for path in files
        },
    }
    write_sealed(folder / RECORD, content)


def read_record(folder: Path) -> Record | None:
    """The record, or `None` if it is missing or not what was written.

    Raises:
        StoreError: If it is there and this user may not read it.
    """
    try:
        content = read_sealed(folder / RECORD)
        files = {name: (int(size), str(sha256)) for name, (size, sha256) in content["files"].items()}
        return Record(content["inputs"], files, str(content["key"]))
    except PermissionError as error:
        raise _forbidden(folder / RECORD) from error
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def damage_of(folder: Path, record: Record) -> str:
    """What is wrong with the files, in words; empty if they are what was written.

    Raises:
        StoreError: If this user may not read one of them.
    """
    for name, (size, sha256) in record.files.items():
        file = folder / name
        try:
            if file.stat().st_size != size:
                return f"{name} has {file.stat().st_size} bytes, not {size}"
            if known_digest(file) != sha256:
                return f"{name} is not what was written"
        except PermissionError as error:
            raise _forbidden(file) from error
        except OSError as error:
            return f"{name}: {error.strerror or error}"
    return ""


def describe_damage(folder: Path) -> str:
    """What is wrong with an artifact, in words; empty if it is whole, or if there is none."""
    if not folder.exists():
        return ""
    record = read_record(folder)
    return f"{RECORD} is not what was written" if record is None else damage_of(folder, record)


def describe_strangeness(folder: Path, key: str) -> str:
    """What is wrong with an artifact that came from elsewhere: its files, all of them, and whose they are."""
    record = read_record(folder)
    if record is None:
        return f"{RECORD} is not what was written"
    if record.key != key:
        return f"it is {record.key[:12]}"
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    unknown = sorted(there - {RECORD, *record.files})
    return f"it never had {unknown[0]}" if unknown else damage_of(folder, record)


def _forbidden(file: Path) -> StoreError:
    return StoreError(
        "the artifact belongs to another user and can't be read",
        where=str(file),
        hint="ask its owner for the right to read it, or name another folder with --home",
    )
