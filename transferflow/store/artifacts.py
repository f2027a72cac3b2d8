"""Content-addressed artifacts: one folder per key, written beside and renamed into place.

```
<home>/artifacts/<stage>/<key>/            the artifact's files
<home>/artifacts/<stage>/<key>/record.json what it was made from: inputs, and size and hash of its files
<home>/history/<stage>/<name>.json         the last inputs seen for a spec name, to say what changed since
<home>/work/<stage>/<key>/                 resumable state of a stage that is not finished
<home>/locks/<stage>/<key>.*               who works on the key now
<home>/in-use/<stage>-<key>.lock           held together by the processes that asked for the artifact
```
Homes may share what they make, see `store.shared`.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transferflow.errors import StoreError
from transferflow.logs import get_logger
from transferflow.store.files import default_home, folder_beside, is_digest, name_beside
from transferflow.store.garbage import in_use
from transferflow.store.litter import litter_of, sweep_home
from transferflow.store.locks import KeyLock
from transferflow.store.record import (
    damage_of,
    describe_damage,
    describe_strangeness,
    read_record,
    write_record,
)
from transferflow.store.sealed import read_sealed, seal, unseal, write_sealed
from transferflow.store.shared import shared_store

logger = get_logger("store")


@dataclass(frozen=True)
class Artifact:
    """One finished artifact.

    Attributes:
        stage: Stage that made it.
        key: Its content key (64 hex digits).
        path: Its folder.
        inputs: What the key was made from.
        reused: Whether it was there already when it was asked for.
    """

    stage: str
    key: str
    path: Path
    inputs: Mapping[str, Any]
    reused: bool = True


def _always(_: Artifact) -> bool:
    return True


class ArtifactStore:
    """The artifacts of one home folder; safe for several processes and hosts at once."""

    def __init__(self, home: Path | None = None) -> None:
        """Name the home; what it shares with others is where the environment says.

        Raises:
            StoreError: If the environment names no folder of an object store.
        """
        self.home = home or default_home()
        self._shared = shared_store()

    def folder(self, stage: str, key: str) -> Path:
        """Where the artifact stands, or would stand."""
        return self.home / "artifacts" / _safe(stage) / _safe(key)

    def work_folder(self, stage: str, key: str) -> Path:
        """Folder for resumable state of an unfinished stage; kept until the artifact is published.

        It belongs to whoever makes the artifact, see `obtain`: what others left in it is theirs no more.
        """
        path = self.work_place(stage, key)
        path.mkdir(parents=True, exist_ok=True)
        return path

    def work_place(self, stage: str, key: str) -> Path:
        """Where that folder stands, or would stand."""
        return self.home / "work" / _safe(stage) / _safe(key)

    def find(self, stage: str, key: str) -> Artifact | None:
        """Return the artifact if it is there and its files are what was written, byte by byte.

        Files are hashed once per process; a damaged artifact counts as absent. What another home has shared
        is fetched, unless somebody is making it here.
        """
        found = self._find_here(stage, key)
        if found is not None or not self._is_shared(stage, key):
            return found
        with KeyLock(self.home, stage, key).hold_if_free() as is_mine:
            return self._fetch(stage, key) if is_mine else None

    def holds(self, stage: str, key: str) -> bool:
        """Whether the artifact is there and whole, or was shared by another home."""
        return self._find_here(stage, key) is not None or self._is_shared(stage, key)

    def recorded(self, stage: str) -> Iterator[Artifact]:
        """Every artifact of a stage by its record alone, in no order: whether its files are whole is open."""
        folder = self.home / "artifacts" / _safe(stage)
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            record = None if path.name.startswith(".") else read_record(path)
            if record is not None:
                yield Artifact(stage, path.name, path, record.inputs)

    def recorded_one(self, stage: str, key: str) -> Artifact | None:
        """An artifact by its record alone: whether its files are whole is open."""
        path = self.folder(stage, key)
        record = read_record(path)
        return Artifact(stage, key, path, record.inputs) if record is not None else None

    def get(self, stage: str, key: str) -> Artifact:
        """Return the artifact.

        Raises:
            StoreError: If it is missing or damaged.
        """
        artifact = self.find(stage, key)
        if artifact is None:
            raise StoreError(
                f"the {stage} artifact {key[:12]} is missing or damaged",
                where=str(self.folder(stage, key)),
                hint="run the spec again: it is made anew",
            )
        return artifact

    def obtain(
        self,
        stage: str,
        key: str,
        inputs: Mapping[str, Any],
        write: Callable[[Path], None],
        *,
        wait: bool = True,
        accept: Callable[[Artifact], bool] = _always,
    ) -> Artifact:
        """Return the artifact, made by `write` unless it is there.

        One process at a time makes a key: others wait for it and reuse what it made. `write` fills a folder
        beside the artifact's place, which is renamed into place when it returns.

        Args:
            stage: Stage that makes it.
            key: Its content key.
            inputs: What the key was made from.
            write: Fills an empty folder.
            wait: Whether to wait for another process that makes it.
            accept: Whether an artifact that is there may be reused; otherwise it is replaced.

        Raises:
            BusyError: If another process makes it, and `wait` is false.
        """
        in_use(self.home, _safe(stage), _safe(key))
        found = self._find_here(stage, key)
        if found is None or not accept(found):
            with KeyLock(self.home, stage, key).hold(wait=wait):
                found = self._find_here(stage, key) or self._fetch(stage, key)
                if found is None or not accept(found):
                    self._make(stage, key, inputs, write)
                    found = Artifact(stage, key, self.folder(stage, key), inputs, reused=False)
        self._share(found)
        return found

    def sweep(self) -> None:
        """Remove what processes that are dead left half done; nothing that has an owner."""
        sweep_home(self.home)

    def last_inputs(self, stage: str, name: str) -> Mapping[str, Any] | None:
        """Inputs of the last finished run of this stage for a spec name, in whichever home that shares it."""
        shared = self._shared.last_inputs(stage, name) if self._shared else None
        if shared is not None:
            with suppress(ValueError, RecursionError):
                return unseal(shared)
        with suppress(OSError, ValueError, RecursionError):
            return read_sealed(self._history(stage, name))
        return None

    def remembered(self) -> list[tuple[str, str]]:
        """Stage and spec name of all inputs that are remembered."""
        return [
            (path.parent.name, path.stem) for path in sorted((self.home / "history").glob("*/[!.]*.json"))
        ]

    def remember_inputs(self, stage: str, name: str, inputs: Mapping[str, Any]) -> None:
        """Note the inputs of a finished run, so that the next plan can say what changed."""
        write_sealed(self._history(stage, name), inputs)
        if self._shared:
            self._shared.remember_inputs(stage, name, seal(inputs))

    def _find_here(self, stage: str, key: str) -> Artifact | None:
        path = self.folder(stage, key)
        record = read_record(path)
        if record is None or damage_of(path, record):
            return None
        return Artifact(stage, key, path, record.inputs)

    def _is_shared(self, stage: str, key: str) -> bool:
        return self._shared is not None and is_digest(key) and self._shared.holds(stage, key)

    def _fetch(self, stage: str, key: str) -> Artifact | None:
        """Put what another home has shared in its place, if it is whole; the caller holds the key's lock."""
        final = self.folder(stage, key)
        if self._shared is None or not is_digest(key):
            return None
        with folder_beside(final) as beside:
            fetched = self._shared.fetch(stage, key, beside)
            if fetched is None:
                return None
            damage = describe_strangeness(fetched, key)
            if damage:
                logger.warning("%s: %s in the shared store is damaged (%s)", stage, key[:12], damage)
                return None
            _move_into_place(fetched, final)
        logger.info("%s: %s comes from the shared store", stage, key[:12])
        return self._find_here(stage, key)

    def _share(self, artifact: Artifact) -> None:
        """Send an artifact of this home that the shared store lacks, or has in a state that was no use."""
        if self._shared is None or (artifact.reused and self._shared.holds(artifact.stage, artifact.key)):
            return
        with folder_beside(artifact.path) as beside:
            self._shared.send(artifact.stage, artifact.key, artifact.path, beside)

    def _make(self, stage: str, key: str, inputs: Mapping[str, Any], write: Callable[[Path], None]) -> None:
        """Make and publish; the caller holds the key's lock."""
        final, work = self.folder(stage, key), self.work_place(stage, key)
        damage = describe_damage(final)
        if damage:
            logger.warning("%s: %s is damaged (%s) and is made anew", stage, key[:12], damage)
        for left in litter_of(final):
            shutil.rmtree(left, ignore_errors=True)
        try:
            with folder_beside(final) as beside:
                write(beside)
                write_record(beside, stage, key, inputs)
                _move_into_place(beside, final)
        except BaseException:
            with suppress(OSError):
                work.rmdir()  # where nothing was kept in it
            raise
        shutil.rmtree(work, ignore_errors=True)

    def _history(self, stage: str, name: str) -> Path:
        return self.home / "history" / _safe(stage) / f"{_safe(name)}.json"


def _move_into_place(beside: Path, final: Path) -> None:
    try:
        beside.rename(final)
    except OSError:  # a damaged one, or one that was not accepted, stands there
        aside = name_beside(final)
        final.rename(aside)  # out of the way in one step, so that nobody sees half of it
        beside.rename(final)
        shutil.rmtree(aside, ignore_errors=True)


def _safe(part: str) -> str:
    if not part or part.startswith(".") or "/" in part or "\\" in part or "\0" in part:
        raise StoreError("not a valid name for an artifact", found=repr(part))
    return part
