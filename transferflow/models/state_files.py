"""Reading weights files that anybody may have made: tensors in, never code."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from transferflow.errors import WeightsError

WRAPPERS = ("state_dict", "model_state_dict", "model", "teacher", "model_ema", "network", "net")
PICKLES = (".pth", ".pt", ".bin", ".tar", ".ckpt", ".pkl")


def read_state(path: Path) -> dict[str, Tensor]:
    """Read a state dict, also one that a training checkpoint wraps.

    Pickles are read with `weights_only=True`, so that nothing in them is run.

    Raises:
        WeightsError: If the file is missing, damaged, holds code, or holds no tensors.
    """
    if not path.is_file():
        raise WeightsError("there is no such weights file", where=str(path))
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    if path.suffix not in PICKLES:
        raise WeightsError(
            "not a kind of weights file that can be read",
            where=str(path),
            found=path.suffix or "no file extension",
            allowed=f".safetensors, {', '.join(PICKLES)}",
        )
    return _unwrap(_read_pickle(path), path)


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return dict(load_file(path))
    except (SafetensorError, OSError, ValueError) as error:
        raise _damaged(path, error) from error


def _read_pickle(path: Path) -> object:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    # A hostile or cut file can make the unpickler raise nearly anything.
    except Exception as error:
        if "weights_only" in str(error) or "Unsupported" in str(error):
            raise WeightsError(
                "the weights file holds more than tensors, and is not opened: reading it could run code",
                where=str(path),
                found=_blamed(error),
                allowed="tensors in dicts and lists",
                hint="where you trust the file, load it yourself and save its state dict as .safetensors",
            ) from error
        raise _damaged(path, error) from error


def _unwrap(loaded: object, path: Path) -> dict[str, Tensor]:
    """Follow the keys under which trainers keep the model, until tensors appear."""
    for _ in range(4):
        if not isinstance(loaded, Mapping):
            break
        tensors = {str(key): value for key, value in loaded.items() if isinstance(value, Tensor)}
        inner = next((name for name in WRAPPERS if isinstance(loaded.get(name), Mapping)), None)
        if inner is None:
            if tensors:
                return tensors
            break
        loaded = loaded[inner]
    raise WeightsError(
        "the weights file holds no state dict",
        where=str(path),
        found=_outline(loaded),
        allowed=f"a dict of tensors, at the top or under one of {', '.join(WRAPPERS)}",
    )


def _outline(loaded: object) -> str:
    if isinstance(loaded, Mapping):
        return f"a dict with the keys {', '.join(map(str, list(loaded)[:8])) or '(none)'}"
    return type(loaded).__name__


def _blamed(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if "nsupported" in line or "GLOBAL" in line]
    return (lines[0] if lines else str(error).splitlines()[0])[:300]


def _damaged(path: Path, error: Exception) -> WeightsError:
    text = str(error).splitlines()
    return WeightsError(
        "the weights file is damaged",
        where=str(path),
        found=f"{type(error).__name__}: {text[0] if text else ''}"[:300],
        hint="fetch or copy it again",
    )
