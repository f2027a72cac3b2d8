"""Convolutions that standardise their own kernel (BiT's ResNets, NFNets), turned to plain ones.

Standardisation takes mean and scale out of each filter, whatever the kernel holds: another number of input
channels can't be weighed against it. A plain convolution with the standardised kernel computes the same; from
there on its kernel trains like any other, without being standardised.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_GEOMETRY = ("kernel_size", "stride", "padding", "dilation", "groups")


def is_standardised(conv: nn.Module) -> bool:
    """Whether it is one of timm's convolutions with weight standardisation."""
    return isinstance(conv, nn.Conv2d) and type(conv).__module__ == "timm.layers.std_conv"


def plain_conv(conv: nn.Conv2d) -> nn.Conv2d:
    """The plain convolution that computes what a standardised one does, padding included."""
    from timm.layers.conv2d_same import Conv2dSame

    kind = Conv2dSame if getattr(conv, "same_pad", False) else nn.Conv2d
    with torch.device("meta"):  # draws no random numbers
        plain = kind(conv.in_channels, conv.out_channels, 1)
    for name in _GEOMETRY:
        setattr(plain, name, getattr(conv, name))
    plain.weight = nn.Parameter(_standardised_kernel(conv, conv.weight, getattr(conv, "gain", None)))
    plain.bias = conv.bias
    return plain.train(conv.training)


def plain_state(model: nn.Module, paths: Sequence[str], state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state whose standardised convolutions at `paths` hold what the plain ones would.

    Args:
        model: Architecture that still has its own convolutions.
        paths: Modules that will be replaced.
        state: Of a model with any number of input channels.
    """
    found = dict(state)
    for path in paths:
        conv, kernel = model.get_submodule(path), found.get(f"{path}.weight")
        if isinstance(conv, nn.Conv2d) and is_standardised(conv) and kernel is not None:
            found[f"{path}.weight"] = _standardised_kernel(conv, kernel, found.pop(f"{path}.gain", None))
    return found


@torch.no_grad()
def _standardised_kernel(conv: nn.Conv2d, kernel: Tensor, gain: Tensor | None) -> Tensor:
    """As in the `forward` of timm's classes; their scale follows the number of inputs of a filter."""
    weight = None
    if gain is not None:
        inputs = conv.weight[0].numel() / kernel[0].numel()
        weight = (gain * float(getattr(conv, "scale", 1.0)) * inputs**0.5).reshape(-1).to(kernel.dtype)
    eps = float(getattr(conv, "eps", 1e-6))
    flat = kernel.reshape(1, kernel.shape[0], -1)
    return F.batch_norm(flat, None, None, weight=weight, training=True, momentum=0.0, eps=eps).reshape_as(
        kernel
    )
