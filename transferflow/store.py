"""Content-addressed artifacts: one folder per key, written beside and renamed into place.

```
<home>/artifacts/<stage>/<key>/            the artifact's files
<home>/artifacts/<stage>/<key>/record.json what it was made from (inputs, versions, hashes of its files)
<home>/history/<stage>/<name>.json         the last inputs seen for a spec name, to say what changed since
<home>/work/<stage>/<key>/                 resumable state of a stage that is not finished
```
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transferflow.errors import StoreError

RECORD = "record.json"


def default_home() -> Path:
    """`$TRANSFERFLOW_HOME`, or `.transferflow` in the working directory."""
    return Path(os.environ.get("TRANSFERFLOW_HOME") or ".transferflow").absolute()


def digest(value: object) -> str:
    """sha256 (hex) of the canonical JSON of `value`."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def file_digest(path: Path) -> str:
    """sha256 (hex) of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_atomic(path: Path, content: str | bytes) -> None:
    """Write beside `path`, flush to disk, and rename: readers see the old file or the whole new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with beside.open("wb") as stream:
            stream.write(content.encode() if isinstance(content, str) else content)
            stream.flush()
            os.fsync(stream.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


@dataclass(frozen=True)
class Artifact:
    """One finished artifact.

    Attributes:
        stage: Stage that made it.
        key: Its content key (64 hex digits).
        path: Its folder.
        inputs: What the key was made from.
    """

    stage: str
    key: str
    path: Path
    inputs: Mapping[str, Any]


class ArtifactStore:
    """The artifacts of one home folder; safe for several processes at once."""

    def __init__(self, home: Path | None = None) -> None:
        self.home = home or default_home()

    def folder(self, stage: str, key: str) -> Path:
        """Where the artifact stands, or would stand."""
        return self.home / "artifacts" / _safe(stage) / _safe(key)

    def work_folder(self, stage: str, key: str) -> Path:
        """Folder for resumable state of an unfinished stage; kept until the artifact is published."""
        path = self.home / "work" / _safe(stage) / _safe(key)
        path.mkdir(parents=True, exist_ok=True)
        return path

    def find(self, stage: str, key: str) -> Artifact | None:
        """Return the artifact if it is there and all of its files are."""
        path = self.folder(stage, key)
        try:
            record = json.loads((path / RECORD).read_text())
            complete = all((path / name).stat().st_size == size for name, size in record["files"].items())
        except (OSError, ValueError, KeyError):
            return None
        return Artifact(stage, key, path, record["inputs"]) if complete else None

    def get(self, stage: str, key: str) -> Artifact:
        """Return the artifact.

        Raises:
            StoreError: If it is missing or incomplete.
        """
        artifact = self.find(stage, key)
        if artifact is None:
            raise StoreError(
                f"the {stage} artifact {key[:12]} is missing or incomplete",
                where=str(self.folder(stage, key)),
                hint="run the spec again: it is made anew",
            )
        return artifact

    def publish(
        self, stage: str, key: str, inputs: Mapping[str, Any], write: Callable[[Path], None]
    ) -> Artifact:
        """Let `write` fill a folder beside the artifact's place, then rename it into place.

        Who comes second with the same key keeps the first one's files.
        """
        final = self.folder(stage, key)
        beside = final.with_name(f".{final.name}.{uuid.uuid4().hex}")
        beside.mkdir(parents=True)
        try:
            write(beside)
            files = {p.relative_to(beside).as_posix(): p.stat().st_size for p in _files(beside)}
            write_atomic(
                beside / RECORD, json.dumps({"stage": stage, "key": key, "inputs": inputs, "files": files})
            )
            self._move_into_place(beside, stage, key)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
        shutil.rmtree(self.home / "work" / stage / key, ignore_errors=True)
        return self.get(stage, key)

    def _move_into_place(self, beside: Path, stage: str, key: str) -> None:
        final = self.folder(stage, key)
        try:
            beside.rename(final)
        except OSError:  # something stands there already
            if self.find(stage, key) is None:
                aside = final.with_name(f".{final.name}.{uuid.uuid4().hex}")
                final.rename(aside)  # damaged: out of the way in one step, so that nobody sees half of it
                shutil.rmtree(aside)
                beside.rename(final)

    def last_inputs(self, stage: str, name: str) -> Mapping[str, Any] | None:
        """Inputs of the last finished run of this stage for a spec name."""
        try:
            found = json.loads(self._history(stage, name).read_text())
        except (OSError, ValueError):
            return None
        return found if isinstance(found, dict) else None

    def remember_inputs(self, stage: str, name: str, inputs: Mapping[str, Any]) -> None:
        """Note the inputs of a finished run, so that the next plan can say what changed."""
        write_atomic(self._history(stage, name), json.dumps(inputs))

    def _history(self, stage: str, name: str) -> Path:
        return self.home / "history" / _safe(stage) / f"{_safe(name)}.json"


def _safe(part: str) -> str:
    if not part or part.startswith(".") or "/" in part or "\\" in part or "\0" in part:
        raise StoreError("not a valid name for an artifact", found=repr(part))
    return part


def _files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.is_file())
