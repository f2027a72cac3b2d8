"""One checkpoint on the disk: a folder of tensors and JSON, each file with its hash.

```
weights.safetensors   the model, without what it began with
ema.safetensors       its moving average, likewise, where there is one
optimizer.pt          optimizer and loss scaler; tensors and plain values only
state.json            the plain part, the hashes of the other files, and those of what the model began with
```
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from pathlib import Path

import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from transferflow.errors import StoreError, TrainingError
from transferflow.store import sync_folder
from transferflow.training.checkpoints.contents import Checkpoint, Tensors
from transferflow.training.checkpoints.start import Start
from transferflow.training.state import LoopState

STATE, WEIGHTS, EMA, OPTIMIZER = "state.json", "weights.safetensors", "ema.safetensors", "optimizer.pt"


def write_checkpoint(folder: Path, checkpoint: Checkpoint, fingerprint: str, start: Start) -> None:
    """Write a checkpoint into a new folder, down to the disk.

    Args:
        folder: Must not exist; nobody else may look at it yet.
        checkpoint: What to write.
        fingerprint: Of the job that it belongs to.
        start: What the model began with.
    """
    optimizer = io.BytesIO()
    torch.save(checkpoint.optimizer, optimizer)
    files = {WEIGHTS: save_tensors(checkpoint.weights), OPTIMIZER: optimizer.getvalue()}
    if checkpoint.ema is not None:
        files[EMA] = save_tensors(checkpoint.ema)
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    began = dict(start.digests)
    state = {"job": fingerprint, "files": hashes, "start": began, "state": checkpoint.state.to_json()}
    folder.mkdir(parents=True)
    for name, data in (files | {STATE: json.dumps(state).encode()}).items():
        with (folder / name).open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
    sync_folder(folder)


def read_checkpoint(folder: Path, fingerprint: str, start: Start) -> Checkpoint:
    """Read a checkpoint, with what the model began with.

    Every byte is held against its hash before it is looked at.

    Raises:
        TrainingError: If it belongs to another job.
        StoreError: If a file is not what was written, or the model began with other weights.
        OSError, ValueError, KeyError, TypeError, pickle.UnpicklingError, RuntimeError: If it is damaged in
            another way.
    """
    content = json.loads((folder / STATE).read_bytes())
    if content["job"] != fingerprint:
        raise TrainingError(
            "the checkpoint belongs to another training",
            where=str(folder),
            hint="remove the folder to train anew",
        )
    start.require(content["start"])
    files = {name: read_checked(folder / name, sha256) for name, sha256 in content["files"].items()}
    return Checkpoint(
        state=LoopState.from_json(content["state"]),
        weights=start.complete(load_tensors(files[WEIGHTS])),
        ema=start.complete(load_tensors(files[EMA])) if EMA in files else None,
        optimizer=torch.load(io.BytesIO(files[OPTIMIZER]), map_location="cpu", weights_only=True),
    )


def read_best_epoch(folder: Path) -> int:
    """The epoch whose weights a checkpoint refers to as the best; -1 if there is none, or it is damaged."""
    try:
        return int(json.loads((folder / STATE).read_bytes())["state"]["best_epoch"])
    except (OSError, ValueError, KeyError, TypeError):
        return -1


def read_checked(path: Path, sha256: str) -> bytes:
    """The file's bytes.

    Raises:
        StoreError: If they are not those that were written.
    """
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != sha256:
        raise StoreError("the file is not what was written", where=str(path))
    return data


def load_weights(path: Path, sha256: str) -> Tensors:
    """Tensors of a file.

    Raises:
        StoreError: If it is not what was written.
        OSError: If it can't be read.
    """
    return load_tensors(read_checked(path, sha256))
