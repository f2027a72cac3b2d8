"""The memory that a training takes at its peak."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import torch
from torch import nn

from transferflow.cgroups import memory_limit
from transferflow.training.device import device_name
from transferflow.training.job import OptimizerSettings
from transferflow.training.preflight.contents import Check

_GIGABYTE = 1e9
_TIGHT = 0.95
"""Share of the memory that can't all be used: others have some, and it falls to pieces."""


class MemoryPeak:
    """The most memory that was in use: of a GPU since this was made, else of this process."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)

    def taken(self) -> int:
        """Bytes; 0 where nobody can tell."""
        match self._device.type:
            case "cuda":
                return torch.cuda.max_memory_reserved(self._device)
            case "mps":
                return 0
            case _:
                return _process_peak()

    def there(self) -> int:
        """Bytes that there are; 0 where nobody can tell."""
        if self._device.type == "cuda":
            return torch.cuda.mem_get_info(self._device)[1]
        return min(_limits(), default=0)

    def whose(self) -> str:
        """Whose memory it is."""
        return device_name(self._device) if self._device.type == "cuda" else "this process"


def _process_peak() -> int:
    try:
        import resource
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _limits() -> Iterator[int]:
    """What this machine has, and what its container may have of it."""
    if "SC_PHYS_PAGES" in getattr(os, "sysconf_names", {}):
        yield os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    granted = memory_limit()
    if granted is not None:
        yield granted


def optimizer_bytes(model: nn.Module, settings: OptimizerSettings) -> int:
    """What an optimizer keeps of the parameters that train now; it has none of it before its first step."""
    trained = sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)
    if settings.kind == "adamw":
        return 2 * trained
    return trained if settings.momentum else 0


def check_memory(peak: MemoryPeak, optimizer: int, micro_batch: int | None) -> Check | None:
    """The memory that training takes, with what the optimizer will keep; `None` where nobody can tell.

    Args:
        peak: Since before the first step.
        optimizer: Bytes that the optimizer keeps from its first step on.
        micro_batch: Most images that fit at a time; `None`: all of a batch.
    """
    if not peak.taken():
        return None
    needed, there = peak.taken() + optimizer, peak.there()
    found = f"{_gigabytes(needed)} GB at the peak of {peak.whose()}"
    if optimizer >= _GIGABYTE / 10:
        found += f"; {_gigabytes(optimizer)} of them for the optimizer"
    expected = f"less than the {_gigabytes(there)} GB that there are" if there else ""
    return Check("memory", found, expected, decide_warning(needed, there, micro_batch))


def decide_warning(needed: int, there: int, micro_batch: int | None) -> str:
    """What to say of memory that is short; nothing where it is not.

    Args:
        needed: Bytes.
        there: Bytes that there are; 0 where nobody can tell.
        micro_batch: Most images that fit at a time; `None`: all of a batch.
    """
    if micro_batch is not None:
        return (
            f"the GPU's memory holds {micro_batch} images of a batch at a time: it is computed in parts, "
            "which takes longer; a smaller training.batch_size or data.image_size needs no parts"
        )
    if there and needed > _TIGHT * there:
        return (
            f"training takes about {_gigabytes(needed)} GB of memory, of {_gigabytes(there)} GB that there "
            "are: lower training.batch_size or data.image_size"
        )
    return ""


def _gigabytes(size: int) -> str:
    return f"{size / _GIGABYTE:.1f}"
