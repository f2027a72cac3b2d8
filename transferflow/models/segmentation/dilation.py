"""Finer feature maps from the same weights: strides of the last stages become dilation (arXiv:1706.05587)."""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from transferflow.errors import PlanError
from transferflow.models.layers import Backbone


def apply_output_stride(body: Backbone, output_stride: int, name: str) -> None:
    """Let every level of `body` that is coarser have this stride; its weights still fit.

    In the stage that loses its stride the first convolution keeps the dilation of the stage before it, as
    torchvision and timm do it.

    Args:
        body: The backbone.
        output_stride: Wanted input pixels per feature pixel.
        name: Of the backbone, for the message.

    Raises:
        PlanError: If this kind of backbone can't give that stride.
    """
    coarser = [level for level in body.levels if level.stride > output_stride]
    if not coarser:
        if not body.levels or body.levels[-1].stride < output_stride:
            raise _impossible(body, output_stride, name)
        return
    names = [group.name for group in body.groups]
    finer = [level for level in body.levels if level.stride == output_stride]
    if not finer or finer[-1].name not in names:
        raise _impossible(body, output_stride, name)
    dilation = 1
    for group in body.groups[names.index(finer[-1].name) + 1 :]:
        convs = [
            module
            for path in group.modules
            for module in body.get_submodule(path).modules()
            if isinstance(module, nn.Conv2d)
        ]
        strided = [conv for conv in convs if max(conv.stride) > 1]
        if any(size > 1 and size % 2 == 0 for conv in convs for size in conv.kernel_size):
            raise _impossible(body, output_stride, name)
        dilation = _dilate(convs, dilation, dilation * (2 if strided else 1))
    body.levels = tuple(replace(level, stride=min(level.stride, output_stride)) for level in body.levels)


def _dilate(convs: list[nn.Conv2d], before: int, after: int) -> int:
    current = before if any(max(conv.stride) > 1 for conv in convs) else after
    for conv in convs:
        was_strided = max(conv.stride) > 1
        conv.stride = (1, 1)
        if max(conv.kernel_size) == 1:
            continue
        conv.dilation = (current, current)
        # timm's "same" convolutions reckon their padding from the dilation by themselves.
        if max(conv.padding) not in ("same", 0):
            conv.padding = tuple(current * (size - 1) // 2 for size in conv.kernel_size)
        if was_strided:
            current = after
    return after


def _impossible(body: Backbone, output_stride: int, name: str) -> PlanError:
    strides = sorted({level.stride for level in body.levels})
    return PlanError(
        f"{name} can't give feature maps of stride {output_stride}",
        where="head.output_stride",
        found=f"strides {', '.join(map(str, strides))} that dilation can't replace",
        allowed="8 or 16 on a ResNet or EfficientNet; the stride of a plain ViT's patches",
        hint="`head.kind: lite` works on every backbone with feature maps",
    )
