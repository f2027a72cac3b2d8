"""The first convolution of RGB weights, turned to 1..n input channels.

With RGB kernels W_c (c = R, G, B) and n new channels j:

| how | new kernel | keeps |
|---|---|---|
| `mean` | mean of W_c, for every j | the classic; activations scale by n / 3 |
| `sum` | sum of W_c / n | the response to a gray image, but for the normalisation |
| `repeat` | W_R, W_G, W_B, W_R, …, times 3 / n (one channel: the sum), as timm does | channels apart |
| `fold` | s_j / n times the sum of W_c / s_c, and a bias | a gray image's activations |

All of them expect images normalised with `spec.statistics.adapt_statistics` of the weights' own mean and
std, or with the spec's `normalization`. `fold` moves the weights' own normalisation (mean m_c, std s_c per
colour) into kernel and bias, so that any input normalisation gives what RGB copies would have given; only
where the kernel overlaps zero padding does the bias differ from the original. Three channels stay as they
are, unless `fold` meets another normalisation.

A first convolution that standardises its own weights (BiT, NFNet) would undo all of this: it is replaced by a
plain one that holds the standardised kernel, and is not standardised any more. Random weights keep it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, assert_never

import torch
from torch import Tensor, nn

from transferflow.errors import PlanError
from transferflow.models.layers import Backbone, Preprocessing, is_batch_norm
from transferflow.models.standardised import is_standardised, plain_conv
from transferflow.spec.sections.normalization import adapt_statistics

How = Literal["mean", "sum", "fold", "repeat", "random"]
RGB = 3


@dataclass(frozen=True)
class ChannelPlan:
    """What the model's input will be.

    Attributes:
        channels: Input channels.
        how: Channel adaptation; `random` when the weights are random anyway.
        normalization: Mean and std per channel that replace the weights' own.
    """

    channels: int
    how: How
    normalization: tuple[tuple[float, ...], tuple[float, ...]] | None = None

    def statistics(
        self, mean: Sequence[float], std: Sequence[float]
    ) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and std of the new input, from those of the weights.

        Raises:
            PlanError: If `normalization` has another number of channels.
        """
        if self.normalization is None:
            return adapt_statistics(mean, std, self.channels)
        if len(self.normalization[0]) not in (1, self.channels):
            raise PlanError(
                "the normalization does not fit the channels",
                where="backbone.normalization",
                found=f"{len(self.normalization[0])} values for {self.channels} channels",
                allowed=f"1 or {self.channels} values",
            )
        return adapt_statistics(*self.normalization, self.channels)


def adapt_first_conv(
    model: nn.Module,
    channels: int,
    how: How,
    mean: Sequence[float],
    std: Sequence[float],
    *,
    normalization: tuple[tuple[float, ...], tuple[float, ...]] | None = None,
    paths: Sequence[str] = (),
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Change the first convolution in place; see the module's table.

    Args:
        model: Model with RGB weights.
        channels: New number of input channels.
        how: Adaptation.
        mean: Mean per colour that the weights were trained with.
        std: Standard deviation per colour that the weights were trained with.
        normalization: Mean and std that the input will be normalised with instead.
        paths: Modules that see the image; left out: the first 2-d convolution.

    Returns:
        Mean and std per channel that the input is to be normalised with.

    Raises:
        PlanError: If the model has no first convolution that can be adapted.
    """
    plan = ChannelPlan(channels, how, normalization)
    target = plan.statistics(mean, std)
    if channels == RGB and (how != "fold" or normalization is None):
        return target
    for path in paths or first_conv_paths(model):
        conv = model.get_submodule(path)
        if not isinstance(conv, nn.Conv2d) or conv.in_channels != RGB or conv.groups != 1:
            raise _not_adaptable(path, conv)
        if how != "random" and is_standardised(conv):
            conv = plain_conv(conv)
            model.set_submodule(path, conv)
        _replace_kernel(conv, plan, (mean, std), target)
    return target


def adapt_input(
    model: nn.Module, preprocessing: Preprocessing, plan: ChannelPlan, paths: Sequence[str]
) -> Preprocessing:
    """Adapt the first convolution in place; return the preprocessing with the new statistics.

    Raises:
        PlanError: If the model has no first convolution that can be adapted.
    """
    mean, std = adapt_first_conv(
        model,
        plan.channels,
        plan.how,
        preprocessing.mean,
        preprocessing.std,
        normalization=plan.normalization,
        paths=paths,
    )
    return replace(preprocessing, mean=mean, std=std)


def mean_shrinks(model: nn.Module, *, stem_trains: bool = True) -> bool:
    """Whether `mean` leaves the activations of another number of channels scaled by n / 3.

    A layer norm right after the first convolution restores them, and so does a batch norm in train mode.

    Args:
        model: A backbone, or a whole model with one inside.
        stem_trains: Whether batch norm after the first convolution is in train mode.
    """
    inside = (module for module in model.modules() if isinstance(module, Backbone))
    backbone = next(inside, model)
    paths = backbone.first_convs if isinstance(backbone, Backbone) else ()
    return any(not _norm_follows(backbone, path, stem_trains) for path in paths or first_conv_paths(backbone))


def first_conv_paths(model: nn.Module) -> tuple[str, ...]:
    """Path of the first 2-d convolution.

    Raises:
        PlanError: If there is none.
    """
    for path, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            return (path,)
    raise _not_adaptable("", model)


def _replace_kernel(
    conv: nn.Conv2d,
    plan: ChannelPlan,
    source: tuple[Sequence[float], Sequence[float]],
    target: tuple[Sequence[float], Sequence[float]],
) -> None:
    with torch.no_grad():
        kernel = _new_kernel(conv.weight, plan, source[1], target[1])
        if plan.how == "fold":
            shift = _bias_shift(conv.weight, plan.channels, source, target[0])
            bias = shift if conv.bias is None else conv.bias + shift
            conv.bias = nn.Parameter(bias.to(conv.weight.dtype))
    conv.weight = nn.Parameter(kernel.to(conv.weight.dtype).contiguous())
    conv.in_channels = plan.channels


def _new_kernel(kernel: Tensor, plan: ChannelPlan, std: Sequence[float], new_std: Sequence[float]) -> Tensor:
    channels = plan.channels
    match plan.how:
        case "mean":
            return kernel.mean(1, keepdim=True).repeat(1, channels, 1, 1)
        case "sum":
            return kernel.sum(1, keepdim=True).repeat(1, channels, 1, 1) / channels
        case "repeat":
            if channels == 1:
                return kernel.sum(1, keepdim=True)
            return kernel[:, [j % RGB for j in range(channels)]] * (RGB / channels)
        case "fold":
            scaled = kernel / _per_channel(std, kernel)
            if channels != RGB:
                scaled = scaled.sum(1, keepdim=True).repeat(1, channels, 1, 1) / channels
            return scaled * _per_channel(new_std, kernel)
        case "random":
            return kernel[:, [j % RGB for j in range(channels)]] * math.sqrt(RGB / channels)
        case _:
            assert_never(plan.how)


def _bias_shift(
    kernel: Tensor, channels: int, source: tuple[Sequence[float], Sequence[float]], new_mean: Sequence[float]
) -> Tensor:
    """What the constant difference of the two normalisations adds to each output where no padding is."""
    old_mean, std = (_per_channel(values, kernel) for values in source)
    mean = _per_channel(new_mean, kernel)
    if channels != RGB:
        mean = mean.mean(1, keepdim=True)
    shift: Tensor = (kernel * (mean - old_mean) / std).sum((1, 2, 3))
    return shift


def _per_channel(values: Sequence[float], like: Tensor) -> Tensor:
    return torch.tensor(values, dtype=like.dtype, device=like.device).view(1, -1, 1, 1)


def _norm_follows(model: nn.Module, path: str, stem_trains: bool) -> bool:
    parent, _, name = path.rpartition(".")
    siblings = list(model.get_submodule(parent).named_children())
    after = siblings[[n for n, _ in siblings].index(name) + 1 :]
    for _, module in after:
        if isinstance(module, nn.Identity):
            continue
        if is_batch_norm(module):
            return stem_trains
        kind = type(module).__name__
        return "LayerNorm" in kind or "GroupNorm" in kind or "RmsNorm" in kind
    return False


def _not_adaptable(path: str, module: nn.Module) -> PlanError:
    return PlanError(
        "the first layer of this backbone can't be adapted to another number of channels",
        where="data.channels",
        found=f"{path or 'the model'}: {type(module).__name__}",
        allowed="3 channels, or a backbone that starts with a plain RGB convolution",
    )
