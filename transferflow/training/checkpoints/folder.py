"""The checkpoints of one training: a folder each, and the best weights.

```
<folder>/epoch-0003/               after 3 epochs
<folder>/epoch-0003-step-00120/    120 steps into the fourth
<folder>/best-0001.safetensors     weights of the best epoch
```
None of them holds what has stayed frozen from the start: the job brings it again.
A checkpoint is written beside its place, flushed to the disk and renamed. The last ones are kept, so that a
damaged one costs what was trained since the one before it.
"""

from __future__ import annotations

import hashlib
import pickle
import re
import shutil
from dataclasses import replace
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save as save_tensors

from transferflow.errors import StoreError
from transferflow.logs import get_logger
from transferflow.store import sync_folder, write_atomic
from transferflow.store.files import name_beside
from transferflow.store.litter import litter_in
from transferflow.training.checkpoints.contents import Checkpoint, Tensors
from transferflow.training.checkpoints.files import (
    load_weights,
    read_best_epoch,
    read_checkpoint,
    write_checkpoint,
)
from transferflow.training.checkpoints.start import Start
from transferflow.training.state import LoopState

logger = get_logger("training")
_NAME = re.compile(r"epoch-(\d+)(?:-step-(\d+))?")
Place = tuple[int, int]
"""Finished epochs, and steps in the one under way."""


def has_checkpoints(folder: Path) -> bool:
    """Whether a training has got as far as a checkpoint, whole or not."""
    return bool(_paths(folder))


def _paths(folder: Path) -> dict[Path, Place]:
    """Folders of all checkpoints and how far each is, oldest first."""
    found = [(path, _NAME.fullmatch(path.name)) for path in folder.glob("epoch-*")]
    places = {path: (int(name[1]), int(name[2] or 0)) for path, name in found if name}
    return dict(sorted(places.items(), key=lambda item: item[1]))


class Checkpoints:
    """The checkpoints of one training.

    Args:
        folder: Where they are; below the work folder of a key that this process owns.
        fingerprint: Of the job; a checkpoint of another one is refused.
        keep: How many of the last ones are kept.
        start: What the model begins with.
    """

    def __init__(self, folder: Path, fingerprint: str, keep: int, start: Start) -> None:
        self.folder = folder
        self.fingerprint = fingerprint
        self.keep = keep
        self.start = start

    def save(self, checkpoint: Checkpoint, *, is_best: bool) -> LoopState:
        """Write a checkpoint; with `is_best`, the epoch that it ends is the best so far.

        Returns:
            The state as it was stored, with the hash of the best weights.
        """
        state = checkpoint.state
        if is_best:
            best = self.best_path(state.epochs - 1)
            data = save_tensors(checkpoint.kept_weights)
            write_atomic(best, data)
            sync_folder(self.folder)  # before a checkpoint that refers to it
            sha256 = hashlib.sha256(data).hexdigest()
            state = replace(state, best_epoch=state.epochs - 1, best_sha256=sha256)
        self._put(replace(checkpoint, state=state))
        self._prune(state.place)
        return state

    def load_last(self) -> Checkpoint | None:
        """Load the newest checkpoint that is whole; `None` if there is none.

        Raises:
            TrainingError: If the checkpoint belongs to another job.
        """
        for path in reversed(list(_paths(self.folder))):
            try:
                found = read_checkpoint(path, self.fingerprint, self.start)
                if found.state.best_epoch >= 0:
                    self.load_best(found.state)
                return found
            except (StoreError, OSError, ValueError, KeyError, TypeError) as error:
                logger.warning("the checkpoint %s is damaged and not used: %s", path.name, error)
            except (pickle.UnpicklingError, SafetensorError, RuntimeError, EOFError) as error:
                logger.warning("the checkpoint %s can't be read and is not used: %s", path.name, error)
        return None

    def sweep(self) -> None:
        """Remove what a killed process has left half written."""
        for path in litter_in(self.folder):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)

    def load_best(self, state: LoopState) -> Tensors:
        """Weights of the best epoch.

        Raises:
            StoreError: If the file is not what was written.
            OSError: If it can't be read.
        """
        return self.start.complete(load_weights(self.best_path(state.best_epoch), state.best_sha256))

    def best_path(self, epoch: int) -> Path:
        """File of the weights of an epoch that was the best."""
        return self.folder / f"best-{epoch:04}.safetensors"

    def _put(self, checkpoint: Checkpoint) -> None:
        epochs, steps = checkpoint.state.place
        final = self.folder / (f"epoch-{epochs:04}" + (f"-step-{steps:05}" if steps else ""))
        beside, aside = name_beside(final), name_beside(final)
        try:
            write_checkpoint(beside, checkpoint, self.fingerprint, self.start)
            if final.exists():  # a damaged one, whose steps were trained again
                final.rename(aside)
            beside.rename(final)
            sync_folder(self.folder)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
            shutil.rmtree(aside, ignore_errors=True)

    def _prune(self, place: Place) -> None:
        """Keep the last checkpoints up to a place, and the best weights that they refer to.

        What lies beyond it was damaged, and has just been trained again.
        """
        paths = _paths(self.folder)
        kept = [path for path, at in paths.items() if at <= place][-self.keep :]
        for path in paths.keys() - set(kept):
            shutil.rmtree(path, ignore_errors=True)
        needed = {self.best_path(read_best_epoch(path)) for path in kept}
        for best in self.folder.glob("best-*.safetensors"):
            if best not in needed:
                best.unlink(missing_ok=True)
