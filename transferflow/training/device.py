"""Where and in which arithmetic to train: fixed rules, which hold where no trial of precisions was made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Literal

import torch

from transferflow.errors import PlanError
from transferflow.text import counted
from transferflow.training.cpu_convolutions import CpuConvolutions

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

    @contextmanager
    def forward_pass(self, device: torch.device) -> Iterator[None]:
        """A block in which a model on `device` computes in this arithmetic."""
        with ExitStack() as block:
            if self.autocast_dtype is not None:
                block.enter_context(torch.autocast(device.type, self.autocast_dtype))
            if self.precision == "bf16" and device.type == "cpu":
                block.enter_context(CpuConvolutions())
            yield


def pick_device(setting: Literal["auto", "cpu", "cuda", "mps"]) -> torch.device:
    """The device to use; `auto`: CUDA where it is, else Apple's GPU (MPS) where it is.

    Raises:
        PlanError: If a device is asked for that is not there.
    """
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if setting == "auto":
        return torch.device(next(name for name, is_there in there.items() if is_there))
    if not there[setting]:
        raise PlanError(
            f"there is no {setting.upper()} device",
            where="training.device",
            found=setting,
            allowed=", ".join(["auto", *(name for name, is_there in there.items() if is_there)]),
            hint="use `auto`, or a machine whose driver fits this PyTorch",
        )
    return torch.device(setting)


def device_name(device: torch.device) -> str:
    """What a person calls it: the GPU's name, or the kind of device."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def check_devices(count: int, asked: str, device: torch.device, gpus: int, sync_batch_norm: bool) -> None:
    """Refuse to spread a training over devices that are not there.

    Args:
        count: Devices that are asked for.
        asked: `training.device`.
        device: What `pick_device` makes of it.
        gpus: CUDA devices of this machine.
        sync_batch_norm: Whether batch norm is to see the images of all devices.

    Raises:
        PlanError: If they can't be had.
    """
    if count == 1:
        return
    if device.type == "cuda":
        if gpus < count:
            raise PlanError(
                "this machine has not so many GPUs",
                where="training.devices",
                found=f"{counted(count, 'device')}, {counted(gpus, 'GPU')}",
                allowed=f"1 to {gpus}",
            )
        return
    if asked != "cpu":
        raise PlanError(
            "there are no GPUs to spread the training over",
            where="training.devices",
            found=f"{count} devices, of which this machine has one: {device.type}",
            allowed="1",
            hint="`training.device: cpu` trains in several processes that share the CPUs, which is slower",
        )
    if sync_batch_norm:
        raise PlanError(
            "PyTorch joins batch norm on CUDA alone",
            where="training.sync_batch_norm",
            found="training.device: cpu",
            hint="leave it out, or keep the running statistics with freeze.batch_norm: all_frozen",
        )


def computes_bf16(device: torch.device) -> bool:
    """Whether the device computes bf16 itself: CUDA from Ampere on, x86 with AVX-512 BF16 or AMX."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    found = _cpu_abilities()
    return bool(found.get("avx512_bf16") or found.get("amx_bf16"))


def computes_bf16_fast(device: torch.device) -> bool:
    """Whether bf16 takes less time than fp32 there, as a rule: not on Intel's CPUs without AMX.

    Their instruction for it (`vdpbf16ps`) computes less in a second than those of fp32 do.
    """
    is_slow = device.type == "cpu" and is_slow_at_bf16(_cpu_abilities())
    return computes_bf16(device) and not is_slow


def is_slow_at_bf16(abilities: Mapping[str, object]) -> bool:
    """Whether a CPU computes bf16 no faster than fp32.

    Args:
        abilities: As `torch.cpu.get_capabilities` tells them.
    """
    return "Intel" in str(abilities.get("cpu_name")) and not abilities.get("amx_bf16")


def _cpu_abilities() -> Mapping[str, object]:
    ask = getattr(torch.cpu, "get_capabilities", None)  # torch >= 2.10
    return {} if ask is None else ask()


def decide_arithmetic(
    setting: Literal["auto", "fp32", "bf16", "fp16"], device: torch.device, *, bf16: bool
) -> Arithmetic:
    """Choose precision and memory layout by rules that `benchmarks/precision.py` measured.

    `auto` is bf16 where the device computes it fast, else fp32; for a long training on a CPU a trial has
    chosen before (`precision.trial`). Images and convolutions are laid out channels last: on a CPU 0.58 to
    0.98 of the time in fp32. Apple's GPU, which was not measured, computes in fp32 and in PyTorch's own
    layout.

    Args:
        setting: What the spec says.
        device: Where to train.
        bf16: See `computes_bf16_fast`.

    Raises:
        PlanError: If the device can't do what is asked for.
    """
    is_cuda = device.type == "cuda"
    where = "training.precision"
    if device.type == "mps":
        if setting not in ("auto", "fp32"):
            what = f"{setting} was not tried on Apple's GPU"
            raise PlanError(what, where=where, found=setting, allowed="auto, fp32")
        return Arithmetic("fp32", image_layout(device))
    if setting == "fp16" and not is_cuda:
        what = "fp16 needs CUDA: without loss scaling, which a CPU has not, gradients underflow"
        raise PlanError(what, where=where, found="fp16", allowed="auto, fp32, bf16")
    if setting == "bf16" and is_cuda and not bf16:
        raise PlanError("this GPU has no bf16", where=where, found="bf16", allowed="auto, fp32, fp16")
    precision: Precision = "fp32"
    if setting != "auto":
        precision = setting
    elif bf16:
        precision = "bf16"
    return Arithmetic(precision, image_layout(device))


def image_layout(device: torch.device) -> torch.memory_format:
    """Layout of images and convolutions in which a device computes fastest, see `decide_arithmetic`."""
    return torch.contiguous_format if device.type == "mps" else torch.channels_last
