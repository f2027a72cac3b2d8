"""Convolutions in bf16 on a CPU, whose gradients are better taken in fp32: forward in bf16 all the same.

**Depthwise ones, for speed.** oneDNN has no kernel of its own for most of their gradients in bf16: in
EfficientNet-Lite0 they took four times as long as in fp32, and more than all other layers of a step
together. With theirs in fp32 a step in bf16 takes about half of one in fp32, on a CPU that computes bf16
fast.

**Those that step beyond their images, for right numbers.** Where the images are narrower than the stride,
its bf16 kernel for the gradient of the weights reads memory that nothing was written to (torch 2.15; not in
fp32, nor with wider images): `benchmarks/cpu_convolutions.py` shows where.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.overrides import TorchFunctionMode


class _Convolution(NamedTuple):
    """Arguments of `torch.conv2d`, in its order."""

    input: Tensor
    weight: Tensor
    bias: Tensor | None = None
    stride: int | Sequence[int] = 1
    padding: int | Sequence[int] | str = 0
    dilation: int | Sequence[int] = 1
    groups: int = 1

    @property
    def wants_fp32_gradients(self) -> bool:
        """Whether those in bf16 are slow (a group per channel), or wrong (steps wider than the images)."""
        if self.input.ndim != 4 or isinstance(self.padding, str):
            return False
        is_depthwise = self.groups == self.input.shape[1] > 1
        sizes, steps = self.input.shape[-2:], _pair(self.stride)
        return is_depthwise or any(size < step for size, step in zip(sizes, steps, strict=True))

    @property
    def is_in_bf16(self) -> bool:
        """Whether autocast computes it in bf16: real numbers of a CPU, where nobody has turned it off."""
        kinds = (torch.float32, torch.bfloat16)
        is_asked = self.input.device.type == "cpu" and torch.is_autocast_enabled("cpu")
        return is_asked and self.input.dtype in kinds and self.weight.dtype in kinds


class CpuConvolutions(TorchFunctionMode):
    """A block in which autocast computes in bf16 on a CPU, and gradients come from fp32 where that is better.

    What the forward pass gives is what autocast alone gives.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401 - torch's protocol: whatever the function gives
        """Call a function of torch, some convolutions in our own way."""
        named = kwargs or {}
        if func is torch.conv2d:
            asked = _Convolution(*args, **named)
            if asked.is_in_bf16 and asked.wants_fp32_gradients:
                apply: Any = _Fp32Gradients.apply  # torch has no types here
                return apply(*asked)
        return func(*args, **named)


class _Fp32Gradients(torch.autograd.Function):
    """A convolution in bf16 with gradients in fp32, see above."""

    @staticmethod
    def forward(ctx: Any, *given: Any) -> Tensor:  # noqa: ANN401 - torch's protocol
        asked = _Convolution(*given)
        images = asked.input.bfloat16()
        stride, padding, dilation = (_pair(n) for n in (asked.stride, asked.padding, asked.dilation))
        ctx.save_for_backward(images, asked.weight)
        ctx.settings = stride, padding, dilation, False, (0, 0), asked.groups
        ctx.types = (asked.input.dtype, asked.weight.dtype, None if asked.bias is None else asked.bias.dtype)
        bias = None if asked.bias is None else asked.bias.bfloat16()
        weight = asked.weight.bfloat16()
        return torch.conv2d(images, weight, bias, stride, padding, dilation, asked.groups)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401 - torch's protocol
        images, weight = ctx.saved_tensors
        found = torch.ops.aten.convolution_backward(
            gradient.float(),
            images.float(),
            weight.float(),
            [len(weight)],
            *ctx.settings,
            ctx.needs_input_grad[:3],
        )
        typed = (g if g is None else g.to(dtype) for g, dtype in zip(found, ctx.types, strict=True))
        return (*typed, None, None, None, None)


def _pair(value: int | Sequence[int] | str) -> tuple[int, ...]:
    numbers = (value,) if isinstance(value, int) else tuple(int(n) for n in value)
    return numbers * 2 if len(numbers) == 1 else numbers
