"""Convolutions in bf16 hold against torch's own, in the same bits forward and in fp32 backward."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from torch import nn

from transferflow.training.cpu_convolutions import CpuConvolutions
from transferflow.training.device import Arithmetic

CPU = torch.device("cpu")
BF16 = Arithmetic("bf16", torch.channels_last)


def run(layer: nn.Module, images: torch.Tensor, *, ours: bool) -> tuple[torch.Tensor, ...]:
    """Output, and gradients of the images and of each parameter."""
    given = images.clone().requires_grad_()
    layer.zero_grad()
    if ours:
        with BF16.forward_pass(CPU):
            found = layer(given)
    else:
        with torch.autocast("cpu", torch.bfloat16):
            found = layer(given)
    found.float().square().sum().backward()
    return found, given.grad, *(parameter.grad for parameter in layer.parameters())


@pytest.mark.parametrize(
    "settings",
    [
        {"kernel_size": 3, "padding": 1, "bias": False},
        {"kernel_size": 5, "padding": 2, "stride": 2},
        {"kernel_size": 3, "dilation": 2, "padding": "same"},
    ],
)
def test_a_depthwise_convolution_gives_the_same_and_takes_better_gradients(settings):
    torch.manual_seed(0)
    layer, images = nn.Conv2d(8, 8, groups=8, **settings), torch.randn(2, 8, 12, 10)
    answer, *gradients = run(layer, images, ours=True)
    expected, *torch_own = run(layer, images, ours=False)
    assert answer.dtype == torch.bfloat16
    assert torch.equal(answer, expected)
    for found, own in zip(gradients, torch_own, strict=True):
        assert found.dtype == own.dtype == torch.float32
        torch.testing.assert_close(found, own, rtol=0.03, atol=0.03 * float(own.abs().max()))


def test_the_gradient_of_the_weights_is_that_of_fp32():
    torch.manual_seed(0)
    images = torch.randn(4, 16, 20, 20).bfloat16().float()
    layer = nn.Conv2d(16, 16, 5, padding=2, groups=16, bias=False)
    with torch.no_grad():
        layer.weight.copy_(layer.weight.bfloat16())
    upstream = torch.randn(4, 16, 20, 20).bfloat16().float()
    layer(images).backward(upstream)
    expected = layer.weight.grad.clone()
    layer.zero_grad()
    with BF16.forward_pass(CPU):
        answer = layer(images)
    answer.backward(upstream.bfloat16())
    torch.testing.assert_close(layer.weight.grad, expected)


# In a process of its own, where memory that nothing was written to holds large numbers.
NARROW = """
import torch
from torch.nn.functional import conv2d
from transferflow.training.device import Arithmetic

torch.manual_seed(0)
shapes = [(3, 2, (1, 1)), (3, 2, (4, 1)), (5, 3, (5, 2)), (7, 4, (3, 3)), (3, (1, 2), (3, 1))]
for kernel, stride, size in shapes:
    for layout in (torch.channels_last, torch.contiguous_format):
        images = torch.randn(2, 16, *size).bfloat16().float().contiguous(memory_format=layout)
        weight = (torch.randn(24, 16, kernel, kernel) / 8).bfloat16().float().contiguous(memory_format=layout)
        gradients = []
        for precision in ("fp32", "bf16"):
            given = images.clone().requires_grad_(), weight.clone().requires_grad_()
            with Arithmetic(precision, layout).forward_pass(torch.device("cpu")):
                answer = conv2d(*given, stride=stride, padding=kernel // 2)
            answer.sum().backward()
            gradients.append([one.grad for one in given])
        for expected, found in zip(*gradients, strict=True):
            torch.testing.assert_close(found, expected)
"""


def test_images_narrower_than_the_stride_have_the_gradient_of_fp32():
    """oneDNN's own kernel (of torch 2.15) adds up what happens to lie in memory, once in many runs."""
    poisoned = os.environ | {"MALLOC_PERTURB_": "1"}
    subprocess.run([sys.executable, "-P", "-c", NARROW], env=poisoned, check=True)


def test_other_convolutions_are_left_alone():
    torch.manual_seed(0)
    images = torch.randn(2, 8, 9, 9)
    for layer in (nn.Conv2d(8, 12, 1), nn.Conv2d(8, 8, 3, groups=2), nn.Conv2d(8, 16, 3, groups=8)):
        with torch.autocast("cpu", torch.bfloat16), CpuConvolutions():
            found = layer(images)
        ours = "Fp32Gradients" in type(found.grad_fn).__name__
        assert ours == (layer.groups == 8)


def test_only_bf16_on_a_cpu_has_its_own_way():
    layer, images = nn.Conv2d(4, 4, 3, groups=4), torch.randn(1, 4, 5, 5)
    with Arithmetic("fp32", torch.channels_last).forward_pass(CPU):
        assert "Fp32Gradients" not in type(layer(images).grad_fn).__name__
    with BF16.forward_pass(CPU):
        assert "Fp32Gradients" in type(layer(images).grad_fn).__name__
    assert "Fp32Gradients" not in type(layer(images).grad_fn).__name__


def test_what_autocast_leaves_alone_is_left_alone():
    layer, images = nn.Conv2d(4, 4, 3, groups=4), torch.randn(2, 4, 8, 8)
    with BF16.forward_pass(CPU):
        assert layer.to("meta")(images.to("meta")).grad_fn.name().startswith("Convolution")
    layer = nn.Conv2d(4, 4, 3, groups=4)
    with BF16.forward_pass(CPU), torch.autocast("cpu", enabled=False):
        assert torch.equal(layer(images), nn.functional.conv2d(images, layer.weight, layer.bias, groups=4))
    double = layer.double()
    with BF16.forward_pass(CPU):
        assert double(images.double()).dtype == torch.float64
