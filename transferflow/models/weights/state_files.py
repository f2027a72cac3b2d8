"""Reading weights files that anybody may have made: tensors in, never code."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, assert_never

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from transferflow.errors import WeightsError
from transferflow.limits import MAX_WEIGHT_DEPTH
from transferflow.text import one_line

WRAPPERS = (
    *("state_dict", "model_state_dict", "model", "teacher", "model_ema", "network", "net"),
    *("state_dict_ema", "ema", "module", "student", "encoder", "backbone", "params"),
)
READABLE = "a .safetensors file, or what torch.save writes (.pth, .pt, .bin, .ckpt)"
AGAIN = "fetch or copy it again"
_HEAD = 512


def read_state(path: Path) -> dict[str, Tensor]:
    """Read a state dict, also one that a training checkpoint wraps; the content says which kind it is.

    Pickles are read with `weights_only=True`, so that nothing in them is run.

    Raises:
        WeightsError: If the file is missing, damaged, holds code, or holds no plain tensors.
    """
    match check_file(path):
        case "safetensors":
            return _read_safetensors(path)
        case "pickle":
            return _plain(_unwrap(_read_pickle(path), path), path)
        case kind:
            assert_never(kind)


def check_file(path: Path) -> Literal["safetensors", "pickle"]:
    """Tell the kind of weights file by its content, and check what costs no memory.

    Raises:
        WeightsError: If the file is missing, no weights file, or a zip archive that torch did not write so.
    """
    if not path.is_file():
        raise WeightsError("there is no such weights file", where=str(path))
    try:
        with path.open("rb") as stream:
            head = stream.read(_HEAD)
    except OSError as error:
        raise _damaged(path, failure(error)) from error
    if head.startswith(b"PK\x03\x04"):
        _check_archive(path)
        return "pickle"
    if head.startswith(b"\x80"):  # torch.save's older format
        return "pickle"
    if not _is_text(head) and (head[8:9] == b"{" or path.suffix.lower() == ".safetensors"):
        return "safetensors"
    raise WeightsError(
        "not a weights file" if head else "the weights file is empty",
        where=str(path),
        found=_beginning(head),
        allowed=READABLE,
        hint=AGAIN if not head else f"{AGAIN}: a page or a message may have been saved in its place",
    )


def failure(error: Exception, lines: int = 1) -> str:
    """What went wrong while reading, without the libraries' advice to read unsafely.

    Args:
        error: What a library raised.
        lines: How many lines of its message to show.
    """
    text = str(error)
    if blamed := re.search(r"(?:GLOBAL|unsupported class|Unsupported globals:) ([\w.]+)", text):
        return f"it needs {one_line(blamed[1])}"
    if "TorchScript" in text:
        return "a TorchScript archive, which is a program"
    if "weights_only" in text or "nsupported" in text:
        return "a pickle of more than tensors, or not from torch.save"
    told = "\n".join(one_line(line, 300) for line in text.strip().splitlines()[:lines])
    return f"{type(error).__name__}: {told}"


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return dict(load_file(path))
    except (SafetensorError, OSError, ValueError) as error:
        raise _damaged(path, failure(error)) from error


def _read_pickle(path: Path) -> object:
    try:
        with path.open("rb") as stream:  # given a path, torch would go by its suffix
            return torch.load(stream, map_location="cpu", weights_only=True)
    # A hostile or cut file can make the unpickler raise nearly anything.
    except Exception as error:
        if "weights_only" in str(error) or "Unsupported" in str(error):
            raise WeightsError(
                "the weights file holds more than tensors, and is not opened: reading it could run code",
                where=str(path),
                found=failure(error),
                allowed="tensors in dicts and lists",
                hint="where you trust the file, load it yourself and save its state dict as .safetensors",
            ) from error
        raise _damaged(path, failure(error)) from error


def _check_archive(path: Path) -> None:
    """Refuse what torch.save never writes, and what has changed since: torch itself looks at neither."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            if not any(entry.filename.endswith("data.pkl") for entry in entries):
                raise WeightsError(
                    "not a weights file",
                    where=str(path),
                    found=f"a zip archive of {', '.join(one_line(entry.filename) for entry in entries[:4])}",
                    allowed=READABLE,
                )
            # TorchScript compresses its code: that torch.load names it says more.
            script = any(entry.filename.endswith("constants.pkl") for entry in entries)
            packed = any(entry.compress_type != zipfile.ZIP_STORED for entry in entries) and not script
            if packed or sum(entry.file_size for entry in entries) > path.stat().st_size:
                raise WeightsError(
                    "the weights file would unpack to more than it is, and is not opened",
                    where=str(path),
                    found="compressed or overlapping entries in its zip archive",
                    allowed="entries as torch.save writes them, uncompressed",
                    hint="load it where you trust it, and save its state dict as .safetensors",
                )
            # torch.save can be told to leave the checksums out: they are all 0 then.
            broken = archive.testzip() if any(entry.CRC for entry in entries) and not script else None
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, RuntimeError) as error:
        raise _damaged(path, failure(error)) from error
    if broken is not None:
        raise _damaged(path, f"the checksum of {one_line(broken)} is wrong")


def _unwrap(loaded: object, path: Path) -> dict[str, Tensor]:
    """Follow the keys under which trainers keep the model, until tensors appear."""
    found = _find_tensors(loaded, MAX_WEIGHT_DEPTH)
    if found:
        return found
    raise WeightsError(
        "the weights file holds no state dict",
        where=str(path),
        found=_outline(loaded),
        allowed=f"a dict of tensors, at the top or under one of {', '.join(WRAPPERS)}",
    )


def _find_tensors(loaded: object, depth: int) -> dict[str, Tensor]:
    if not isinstance(loaded, Mapping) or not depth:
        return {}
    for name in WRAPPERS:
        if inner := _find_tensors(loaded.get(name), depth - 1):
            return inner
    return {str(key): value for key, value in loaded.items() if isinstance(value, Tensor)}


def _plain(state: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Refuse tensors that have no numbers of their own, or not in rows, or more than the file can hold."""
    size = path.stat().st_size
    for key, value in state.items():
        if value.layout != torch.strided or value.is_quantized or value.is_meta:
            kind = "quantised" if value.is_quantized else "meta" if value.is_meta else "sparse"
            raise WeightsError(
                "the weights file holds a tensor that is not a plain one",
                where=str(path),
                found=f"{one_line(key)} ({kind})",
                allowed="dense tensors of floating-point numbers",
                hint="convert it where the file was made (`.to_dense()`, `.dequantize()`) and save it again",
            )
        if value.numel() * value.element_size() > size:
            raise WeightsError(
                "the weights file holds a tensor that is larger than the file, and is not opened",
                where=str(path),
                found=f"{one_line(key)} of shape {tuple(value.shape)} in {size:,} bytes",
                allowed="tensors with numbers of their own, each written out",
                hint="convert it where the file was made (`.contiguous().clone()`) and save it again",
            )
    return state


def _outline(loaded: object) -> str:
    if isinstance(loaded, Mapping):
        return f"a dict with the keys {', '.join(map(one_line, list(loaded)[:8])) or '(none)'}"
    return type(loaded).__name__


def _is_text(head: bytes) -> bool:
    return not any(byte < 9 or (13 < byte < 32 and byte != 27) for byte in head)  # 27 starts a colour


def _beginning(head: bytes) -> str:
    if not head:
        return "0 bytes"
    if _is_text(head):
        return f"text: {one_line(' '.join(head.decode('utf-8', 'replace').split()), 60)}"
    return f"a file that begins with the bytes {head[:8].hex(' ')}"


def _damaged(path: Path, found: str) -> WeightsError:
    return WeightsError("the weights file is damaged", where=str(path), found=found, hint=AGAIN)
