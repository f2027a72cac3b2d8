"""`Ranks` over torch.distributed: gloo for words and numbers, and for gradients what the devices have."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

_BUCKET_BYTES = 32 * 2**20
"""Gradients that are sent at once: enough to use the whole line, little to hold twice."""
_PATIENCE = timedelta(days=7)
"""Rank 0 may take long to decode images for all; who dies is found by the launch, not by a time-out."""


@dataclass(frozen=True)
class Together:
    """One of several processes.

    Gradients are summed after the backward pass of the whole batch, and not during it as
    `DistributedDataParallel` does: so a rank may run out of memory and take smaller parts, freeze phases may
    change what trains, and layers may be left out, all without a word to the others.

    Attributes:
        rank: This process's number.
        world: How many there are.
        words: Group of what is on the CPU; `None`: that of tensors on devices.
    """

    rank: int
    world: int
    words: dist.ProcessGroup | None

    @contextmanager
    def in_turn(self) -> Iterator[None]:
        """Rank 0 first, then the others at once."""
        if self.rank > 0:
            dist.barrier(self.words)
        yield
        if self.rank == 0:
            dist.barrier(self.words)

    def total(self, values: Sequence[float]) -> list[float]:
        """Sums, in float64."""
        summed = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(summed, group=self.words)
        return [float(value) for value in summed.tolist()]

    @torch.no_grad()
    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """Sum them, a bucket of them at a time."""
        for bucket in split_buckets(tensors):
            flat = torch.cat([tensor.reshape(-1) for tensor in bucket])
            dist.all_reduce(flat)
            parts = torch.split(flat, [tensor.numel() for tensor in bucket])
            for tensor, part in zip(bucket, parts, strict=True):
                tensor.copy_(part.view(tensor.shape))

    @torch.no_grad()
    def copy_first(self, tensors: Iterable[Tensor]) -> None:
        """Broadcast them one by one."""
        for tensor in tensors:
            sent = tensor.detach().contiguous()
            dist.broadcast(sent, 0, group=None if tensor.is_cuda else self.words)
            tensor.detach().copy_(sent)

    def share(self, value: Any) -> Any:  # noqa: ANN401  plain JSON data
        """Send it as JSON: nothing that another process sends is executed."""
        data = bytearray(json.dumps(value).encode() if self.rank == 0 else b"")
        size = torch.tensor([len(data)])
        dist.broadcast(size, 0, group=self.words)
        sent = _as_tensor(data, int(size))
        dist.broadcast(sent, 0, group=self.words)
        return json.loads(sent.numpy().tobytes())

    def gather(self, data: bytes) -> list[bytes]:
        """Send the lengths, then all of it filled up to the longest."""
        sizes = [torch.zeros(1, dtype=torch.int64) for _ in range(self.world)]
        dist.all_gather(sizes, torch.tensor([len(data)]), group=self.words)
        longest = max(1, *(int(size) for size in sizes))
        found = [torch.empty(longest, dtype=torch.uint8) for _ in range(self.world)]
        dist.gather(_as_tensor(data, longest), found if self.rank == 0 else None, group=self.words)
        if self.rank > 0:
            return []
        return [part[: int(size)].numpy().tobytes() for part, size in zip(found, sizes, strict=True)]

    def join_batch_norm(self, model: nn.Module) -> nn.Module:
        """Through timm, which knows its own layers too."""
        from timm.layers import norm_act  # takes seconds to import

        convert: Any = norm_act.convert_sync_batchnorm  # timm has no types here
        joined: nn.Module = convert(model)
        return joined


@contextmanager
def joined(device: torch.device) -> Iterator[Together]:
    """Join the other ranks that the elastic launch has started.

    Args:
        device: Where this rank computes.
    """
    words = None
    if device.type == "cuda":
        dist.init_process_group("nccl")
        words = dist.new_group(backend="gloo", timeout=_PATIENCE)
    else:
        dist.init_process_group("gloo", timeout=_PATIENCE)
    if isinstance(words, int):
        raise RuntimeError("torch.distributed has left this rank out of the group of all ranks")
    yield Together(dist.get_rank(), dist.get_world_size(), words)
    dist.destroy_process_group()  # not after an error: it would wait for ranks that are gone


def split_buckets(tensors: Sequence[Tensor], most: int = _BUCKET_BYTES) -> Iterator[list[Tensor]]:
    """Tensors in order, in runs of one type and of at most so many bytes, or of one larger tensor.

    Args:
        tensors: On one device.
        most: Bytes of a run.
    """
    bucket: list[Tensor] = []
    room = most
    for tensor in tensors:
        if bucket and (tensor.nbytes > room or tensor.dtype != bucket[0].dtype):
            yield bucket
            bucket, room = [], most
        bucket.append(tensor)
        room -= tensor.nbytes
    if bucket:
        yield bucket


def _as_tensor(data: bytes | bytearray, length: int) -> Tensor:
    filled = torch.zeros(length, dtype=torch.uint8)
    if data:
        filled[: len(data)] = torch.frombuffer(bytearray(data), dtype=torch.uint8)
    return filled
