"""Where and in which arithmetic to train: fixed rules, never a timing, so that a run can be repeated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from transferflow.errors import PlanError

Precision = Literal["fp32", "bf16", "fp16"]


@dataclass(frozen=True)
class Arithmetic:
    """Arithmetic of the forward pass.

    Attributes:
        precision: fp32, or the type that autocast uses.
        memory_format: Layout of images and convolution weights.
    """

    precision: Precision
    memory_format: torch.memory_format

    @property
    def autocast_dtype(self) -> torch.dtype | None:
        """Type for autocast; `None` without it."""
        return {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[self.precision]


def pick_device(setting: Literal["auto", "cpu", "cuda"]) -> torch.device:
    """The device to use; `auto`: CUDA where it is.

    Raises:
        PlanError: If CUDA is asked for and there is none.
    """
    if setting == "cuda" and not torch.cuda.is_available():
        raise PlanError(
            "there is no CUDA device",
            where="training.device",
            found="cuda",
            allowed="auto, cpu",
            hint="use `auto`, or a machine whose driver fits this PyTorch",
        )
    if setting == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(setting)


def decide_arithmetic(
    setting: Literal["auto", "fp32", "bf16", "fp16"], device: torch.device, *, bf16_supported: bool
) -> Arithmetic:
    """Choose precision and memory layout.

    `auto` is bf16 on CUDA that has it, else fp32. On a CPU it is fp32: bf16 was measured slower on small
    images and depthwise convolutions even with AVX-512 BF16 (benchmarks/precision.py), and a choice by
    timing would make results depend on the load of the machine.

    Raises:
        PlanError: If the device can't do what is asked for.
    """
    is_cuda = device.type == "cuda"
    if setting == "fp16" and not is_cuda:
        raise PlanError(
            "fp16 needs CUDA: it would underflow without loss scaling, which a CPU has not",
            where="training.precision",
            found="fp16",
            allowed="auto, fp32, bf16",
        )
    if setting == "bf16" and is_cuda and not bf16_supported:
        raise PlanError(
            "this GPU has no bf16",
            where="training.precision",
            found="bf16",
            allowed="auto, fp32, fp16",
        )
    if setting == "auto":
        precision: Precision = "bf16" if is_cuda and bf16_supported else "fp32"
    else:
        precision = setting
    return Arithmetic(precision, torch.channels_last)
