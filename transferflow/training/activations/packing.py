"""Tensors of an image as a blob of a shard, and a batch of them back from blobs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from transferflow.store.shards import Blob, Bytes, Note

_KINDS = (torch.float32, torch.float16, torch.bfloat16, torch.uint8, torch.int64)
_PLAIN, _CHANNELS_LAST = 0, 1


def rows_of(batch: Tensor) -> list[Tensor]:
    """Each image's part of a batch (B x …) on the CPU, laid out as the batch is."""
    found = batch.detach().to("cpu")
    if is_channels_last(found):
        return [row.permute(2, 0, 1) for row in found.permute(0, 2, 3, 1).contiguous()]
    return list(found.contiguous())


def is_channels_last(batch: Tensor) -> bool:
    """Whether the channels of a pixel lie side by side."""
    return (
        batch.ndim == 4
        and batch.is_contiguous(memory_format=torch.channels_last)
        and not batch.is_contiguous()
    )


def pack(key: str, tensors: Sequence[Tensor]) -> Blob:
    """An image's tensors, one after the other, as they lie in memory."""
    note: list[int] = []
    raw = bytearray()
    for tensor in tensors:
        flag = _PLAIN if tensor.is_contiguous() else _CHANNELS_LAST
        plain = tensor if flag == _PLAIN else tensor.permute(1, 2, 0)
        note += [_KINDS.index(tensor.dtype), flag, tensor.ndim, *plain.shape]
        raw += plain.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    return Blob(key, bytes(raw), note)


def unpack(raw: Bytes, note: Note) -> list[Tensor]:
    """Tensors that `pack` was given; they can't be written to.

    Raises:
        ValueError: If the note does not describe these bytes.
    """
    found: list[Tensor] = []
    at, left = 0, list(note)
    while left:
        kind, flag, dimensions, *left = left
        shape, left = left[:dimensions], left[dimensions:]
        if not 0 <= kind < len(_KINDS) or len(shape) != dimensions or min(shape, default=1) < 0:
            raise ValueError("not the note of an image's activations")
        length = int(np.prod(shape, dtype=np.int64)) * _KINDS[kind].itemsize
        part = np.array(raw[at : at + length])  # a copy: shards are mapped read-only
        if len(part) != length:
            raise ValueError("the bytes end too early")
        at += length
        plain = torch.from_numpy(part).view(_KINDS[kind]) if length else torch.empty(0, dtype=_KINDS[kind])
        tensor = plain.reshape(shape)
        found.append(tensor.permute(2, 0, 1) if flag == _CHANNELS_LAST else tensor)
    if at != len(raw):
        raise ValueError("there are more bytes than the note describes")
    return found


def stack(rows: Sequence[Tensor]) -> Tensor:
    """A batch of the rows, laid out as they are."""
    if rows[0].ndim == 3 and not rows[0].is_contiguous():
        return torch.stack([row.permute(1, 2, 0) for row in rows]).permute(0, 3, 1, 2)
    return torch.stack(list(rows))
