"""Finer feature maps from the same weights: strides of the last stages become dilation (arXiv:1706.05587)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from torch import nn

from transferflow.errors import PlanError
from transferflow.models.dense import meta_levels
from transferflow.models.layers import Backbone, LayerGroup

Layer = nn.Conv2d | nn.AvgPool2d | nn.MaxPool2d


def apply_output_stride(body: Backbone, output_stride: int, channels: int, name: str) -> None:
    """Let every level of `body` that is coarser have this stride; its weights still fit.

    In the stage that loses its stride the first convolution keeps the dilation of the stage before it, as
    torchvision and timm do it. What comes out is looked at: a stride that is made in another way than by
    convolutions and pools is refused.

    Args:
        body: The backbone.
        output_stride: Wanted input pixels per feature pixel.
        channels: Input channels.
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
        layers = list(_layers(body, group))
        convs = [layer for _, layer in layers if isinstance(layer, nn.Conv2d)]
        if any(size > 1 and size % 2 == 0 for conv in convs for size in conv.kernel_size):
            raise _impossible(body, output_stride, name)
        dilation = _dilate(body, layers, dilation)
    if not _has_stride(body, output_stride, channels):
        raise _impossible(body, output_stride, name)
    body.levels = tuple(replace(level, stride=min(level.stride, output_stride)) for level in body.levels)


def _layers(body: Backbone, group: LayerGroup) -> Iterator[tuple[str, Layer]]:
    for path in group.modules:
        for name, module in body.get_submodule(path).named_modules():
            if isinstance(module, Layer):
                yield f"{path}.{name}" if name else path, module


def _dilate(body: Backbone, layers: list[tuple[str, Layer]], before: int) -> int:
    """Give a group's layers stride 1 and the dilation that makes up for it; return that dilation."""
    after = before * (2 if any(_stride(layer) > 1 for _, layer in layers) else 1)
    current = before
    for path, layer in layers:
        was_strided = _stride(layer) > 1
        if isinstance(layer, nn.Conv2d):
            _dilate_conv(layer, current)
            current = after if was_strided and max(layer.kernel_size) > 1 else current
        elif was_strided:
            body.set_submodule(path, _pool_in_place(layer))
            current = after
    return after


def _stride(layer: Layer) -> int:
    return max(layer.stride) if isinstance(layer.stride, tuple) else int(layer.stride)


def _dilate_conv(conv: nn.Conv2d, dilation: int) -> None:
    conv.stride = (1, 1)
    if max(conv.kernel_size) == 1:
        return
    conv.dilation = (dilation, dilation)
    # timm's "same" convolutions reckon their padding from the dilation by themselves.
    if max(conv.padding) not in ("same", 0):
        conv.padding = tuple(dilation * (size - 1) // 2 for size in conv.kernel_size)


def _pool_in_place(pool: nn.AvgPool2d | nn.MaxPool2d) -> nn.Module:
    """The pool without its stride; one of even size is padded on one side, as timm does in its ResNet-D."""
    if isinstance(pool, nn.AvgPool2d) and pool.padding in (0, (0, 0)):
        from timm.layers.pool2d_same import AvgPool2dSame

        same: nn.Module = AvgPool2dSame(
            pool.kernel_size, 1, ceil_mode=pool.ceil_mode, count_include_pad=pool.count_include_pad
        )
        return same
    pool.stride = 1
    return pool


def _has_stride(body: Backbone, output_stride: int, channels: int) -> bool:
    """Whether the levels come out as finely as they should, give or take a pixel at the border."""
    try:
        maps, _ = meta_levels(body, channels)
    except RuntimeError:  # maps of two sizes that the model adds or joins
        return False
    return all(
        abs(extent - side / min(level.stride, output_stride)) <= 1
        for level, found in zip(body.levels, maps, strict=True)
        for extent, side in zip(found.shape[-2:], body.preprocessing.image_size, strict=True)
    )


def _impossible(body: Backbone, output_stride: int, name: str) -> PlanError:
    strides = sorted({level.stride for level in body.levels})
    return PlanError(
        f"{name} can't give feature maps of stride {output_stride}",
        where="head.output_stride",
        found=f"strides {', '.join(map(str, strides))} that dilation can't replace",
        allowed="8 or 16 on a ResNet or EfficientNet; the stride of a plain ViT's patches",
        hint="`head.kind: lite` works on every backbone with feature maps",
    )
