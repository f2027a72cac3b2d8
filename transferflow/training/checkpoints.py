"""Resumable state of a training: a folder per finished epoch, and the best weights.

```
<folder>/epoch-0003/weights.safetensors   the model after 3 epochs
<folder>/epoch-0003/ema.safetensors       its moving average, where there is one
<folder>/epoch-0003/optimizer.pt          optimizer and loss scaler; tensors and plain values only
<folder>/epoch-0003/state.json            history, proofs, hashes of all files; written last
<folder>/best-0001.safetensors            weights of the best epoch
```
The last two epochs are kept, so that one damaged checkpoint costs one epoch.
"""

from __future__ import annotations

import io
import json
import pickle
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from transferflow.errors import StoreError, TrainingError
from transferflow.logs import get_logger
from transferflow.store import file_digest, write_atomic
from transferflow.training.job import PhaseProof

logger = get_logger("training")
STATE, WEIGHTS, EMA, OPTIMIZER = "state.json", "weights.safetensors", "ema.safetensors", "optimizer.pt"
KEPT = 2
Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class LoopState:
    """How far a training got.

    Attributes:
        epochs: Finished epochs.
        history: A row per finished epoch.
        proofs: Freeze proofs of the finished phases.
        frozen_before: Digest of each frozen tensor at the start of the phase under way.
        best_epoch: Epoch of the best weights; -1 before there is one.
        best_sha256: Hash of their file.
    """

    epochs: int = 0
    history: tuple[Mapping[str, float], ...] = ()
    proofs: tuple[PhaseProof, ...] = ()
    frozen_before: Mapping[str, str] = field(default_factory=dict)
    best_epoch: int = -1
    best_sha256: str = ""


@dataclass(frozen=True)
class Checkpoint:
    """Everything that a checkpoint holds.

    Attributes:
        state: The plain part.
        weights: State dict of the model.
        ema: State dict of the moving average; `None` without one.
        optimizer: State dicts of optimizer and loss scaler.
    """

    state: LoopState
    weights: Tensors
    ema: Tensors | None
    optimizer: dict[str, Any]


class Checkpoints:
    """The checkpoints of one training."""

    def __init__(self, folder: Path, fingerprint: str) -> None:
        self.folder = folder
        self.fingerprint = fingerprint

    def save(self, checkpoint: Checkpoint, *, is_best: bool) -> LoopState:
        """Write a checkpoint of a finished epoch; with `is_best`, keep its weights as the best.

        Returns:
            The state as it was stored, with the hash of the best weights.
        """
        state = checkpoint.state
        if is_best:
            best = self.best_path(state.epochs - 1)
            write_atomic(best, save_tensors(checkpoint.weights if checkpoint.ema is None else checkpoint.ema))
            state = replace(state, best_epoch=state.epochs - 1, best_sha256=file_digest(best))
        final = self._epoch_path(state.epochs)
        beside = final.with_name(f".{final.name}.{uuid.uuid4().hex}")
        try:
            self._write(beside, replace(checkpoint, state=state))
            if final.exists():  # a damaged one, whose epoch was trained again
                shutil.rmtree(final)
            beside.rename(final)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
        self._prune()
        return state

    def load_last(self) -> Checkpoint | None:
        """Load the newest checkpoint that is whole; `None` if there is none.

        Raises:
            TrainingError: If the checkpoint belongs to another job.
        """
        for path in reversed(self._epoch_paths()):
            try:
                return self._read(path)
            except (StoreError, OSError, ValueError, KeyError, TypeError) as error:
                logger.warning("the checkpoint %s is damaged and not used: %s", path.name, error)
            except (pickle.UnpicklingError, SafetensorError, RuntimeError) as error:
                logger.warning("the checkpoint %s can't be read and is not used: %s", path.name, error)
        return None

    def load_best(self, state: LoopState) -> Tensors:
        """Weights of the best epoch."""
        return load_tensors(self.best_path(state.best_epoch).read_bytes())

    def best_path(self, epoch: int) -> Path:
        """File of the weights of an epoch that was the best."""
        return self.folder / f"best-{epoch:04}.safetensors"

    def _write(self, path: Path, checkpoint: Checkpoint) -> None:
        optimizer = io.BytesIO()
        torch.save(checkpoint.optimizer, optimizer)
        files = {WEIGHTS: save_tensors(checkpoint.weights), OPTIMIZER: optimizer.getvalue()}
        if checkpoint.ema is not None:
            files[EMA] = save_tensors(checkpoint.ema)
        for name, data in files.items():
            write_atomic(path / name, data)
        content = {
            "job": self.fingerprint,
            "files": {name: file_digest(path / name) for name in files},
            "progress": asdict(checkpoint.state),
        }
        write_atomic(path / STATE, json.dumps(content))

    def _read(self, path: Path) -> Checkpoint:
        content = json.loads((path / STATE).read_text())
        if content["job"] != self.fingerprint:
            raise TrainingError(
                "the checkpoint belongs to another training",
                where=str(path),
                hint="remove the folder to train anew",
            )
        plain = dict(content["progress"])
        proofs = tuple(
            PhaseProof(**{**proof, "groups": tuple(proof["groups"])}) for proof in plain.pop("proofs")
        )
        state = LoopState(**{**plain, "history": tuple(plain["history"])}, proofs=proofs)
        hashes = {path / name: sha256 for name, sha256 in content["files"].items()}
        hashes[self.best_path(state.best_epoch)] = state.best_sha256
        for file, sha256 in hashes.items():
            if file_digest(file) != sha256:
                raise StoreError("the file is not what was written", where=str(file))
        return Checkpoint(
            state=state,
            weights=load_tensors((path / WEIGHTS).read_bytes()),
            ema=load_tensors((path / EMA).read_bytes()) if EMA in content["files"] else None,
            optimizer=torch.load(path / OPTIMIZER, map_location="cpu", weights_only=True),
        )

    def _prune(self) -> None:
        """Keep the last checkpoints and the best weights that they refer to."""
        paths = self._epoch_paths()
        for path in [*paths[:-KEPT], *self.folder.glob(".epoch-*")]:
            shutil.rmtree(path, ignore_errors=True)
        needed = {self.best_path(_best_epoch(path)) for path in paths[-KEPT:]}
        for best in self.folder.glob("best-*.safetensors"):
            if best not in needed:
                best.unlink(missing_ok=True)

    def _epoch_path(self, epochs: int) -> Path:
        return self.folder / f"epoch-{epochs:04}"

    def _epoch_paths(self) -> list[Path]:
        found = [path for path in self.folder.glob("epoch-*") if path.name[6:].isdigit()]
        return sorted(found, key=lambda path: int(path.name[6:]))


def tensors_of(model: nn.Module) -> Tensors:
    """State dict as tensors that stand alone: on the CPU, contiguous, none shares memory with another."""
    return {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in model.state_dict().items()
        if isinstance(tensor, Tensor)
    }


def _best_epoch(path: Path) -> int:
    try:
        return int(json.loads((path / STATE).read_text())["progress"]["best_epoch"])
    except (OSError, ValueError, KeyError, TypeError):
        return -1  # damaged: what it needs is not known, and it will not be used
