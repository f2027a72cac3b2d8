"""Where PyTorch's own gradients of a convolution in bf16 on a CPU differ from those in fp32.

    python benchmarks/cpu_convolutions.py

Memory that nothing was written to is filled with large numbers (glibc's `MALLOC_PERTURB_`), so that a kernel
which reads some shows it each time. Prints for which strides, kernels, paddings and sizes the gradient of the
weights is off by more than 5 % of its largest value, and whether `transferflow` takes those from fp32.
"""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Iterator
from typing import NamedTuple

import torch

from transferflow.training.device import Arithmetic

LAYOUT = torch.channels_last


class Shape(NamedTuple):
    """Of a convolution, and of the images that it is given."""

    kernel: int
    stride: int
    padding: int
    height: int
    width: int


def shapes() -> Iterator[Shape]:
    """Small ones: those of the last levels of a pyramid."""
    for shape in itertools.starmap(
        Shape, itertools.product((1, 3, 5, 7), (1, 2, 3, 4), range(5), range(1, 6), range(1, 6))
    ):
        pads_no_more = shape.padding <= shape.kernel // 2  # else some see padding alone
        if pads_no_more and min(shape.height, shape.width) + 2 * shape.padding >= shape.kernel:
            yield shape


def gradient_of_weights(shape: Shape, how: Arithmetic | torch.dtype) -> torch.Tensor:
    """Gradient of the weights, shaped 32 x 16 x kernel x kernel: ours, or torch's own."""
    torch.manual_seed(0)
    images = torch.randn(2, 16, shape.height, shape.width).contiguous(memory_format=LAYOUT)
    weight = torch.randn(32, 16, shape.kernel, shape.kernel).contiguous(memory_format=LAYOUT).requires_grad_()
    block = (
        how.forward_pass(torch.device("cpu"))
        if isinstance(how, Arithmetic)
        else torch.autocast("cpu", how, enabled=how != torch.float32)
    )
    with block:
        answer = torch.conv2d(images, weight, None, shape.stride, shape.padding)
    answer.float().square().mean().backward()
    assert weight.grad is not None
    return weight.grad


def is_off(found: torch.Tensor, expected: torch.Tensor) -> bool:
    """Whether it differs by more than bf16 rounds."""
    difference = (found - expected).abs().max() / expected.abs().max()
    return not bool(difference < 0.05)


def main() -> None:
    """Print the table."""
    if "MALLOC_PERTURB_" not in os.environ:
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | {"MALLOC_PERTURB_": "1"})
    tried = off = ours_off = 0
    for shape in shapes():
        expected = gradient_of_weights(shape, torch.float32)
        torch_own = is_off(gradient_of_weights(shape, torch.bfloat16), expected)
        ours = is_off(gradient_of_weights(shape, Arithmetic("bf16", LAYOUT)), expected)
        tried, off, ours_off = tried + 1, off + torch_own, ours_off + ours
        if torch_own or ours:
            print(
                f"{shape}: torch's own {'off' if torch_own else 'right'}, ours {'OFF' if ours else 'right'}"
            )
    print(f"torch {torch.__version__}: of {tried} shapes torch's own is off in {off}, ours in {ours_off}")


if __name__ == "__main__":
    main()
