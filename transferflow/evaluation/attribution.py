"""Where a classifier looked: Grad-CAM for networks with feature maps, attention rollout for ViTs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib import colormaps
from torch import Tensor, nn

from transferflow.errors import EvaluationError
from transferflow.evaluation.pictures import ImageArray
from transferflow.evaluation.statistics.bootstrap import FloatArray
from transferflow.models.classifier import ImageClassifier
from transferflow.models.layers import Backbone, Preprocessing

STRONGEST_TINT = 0.65
COLORS = "inferno"
MOST_PREFIX_TOKENS = 16
"""Class and register tokens that may stand before the patches."""


@dataclass(frozen=True)
class Attribution:
    """Where a model looked.

    Attributes:
        heat: B x H x W, 0..1, the most important place of each image at 1 (all 0 where nothing speaks for
            its class).
        method: What `heat` shows.
        grid: Rows and columns of the map that `heat` was enlarged from: it can tell no finer place.
    """

    heat: FloatArray
    method: Literal["Grad-CAM", "attention rollout"]
    grid: tuple[int, int]


def compute_attribution(model: ImageClassifier, images: Tensor, classes: Sequence[int]) -> Attribution:
    """How much each place of an image speaks for a class.

    - Feature maps: Grad-CAM, the last map weighted by its mean gradient (Selvaraju and others, "Grad-CAM",
      ICCV 2017).
    - Plain ViTs: attention rollout (Abnar and Zuidema, "Quantifying attention flow in transformers", ACL
      2020), which shows where the model looked, whatever the class.

    Args:
        model: In eval mode; its parameters and their gradients are left as they are.
        images: Through the eval transform, B x C x H x W, on the model's device.
        classes: One class index per image.

    Raises:
        EvaluationError: The backbone has neither feature maps nor attention over the whole image.
    """
    grid = _grid(model.backbone, images)
    if grid is not None and _attends_everywhere(model.backbone, images[:1], grid):
        rollout = _attention_rollout(model.backbone, images, grid)
        return Attribution(_enlarge(rollout, images), "attention rollout", grid)
    heat = _grad_cam(model, images, classes)
    return Attribution(_enlarge(heat, images), "Grad-CAM", (heat.shape[-2], heat.shape[-1]))


def _enlarge(heat: Tensor, images: Tensor) -> FloatArray:
    """To the images' size, from the least important place at 0 to the most important one at 1."""
    large = F.interpolate(heat[:, None].float(), images.shape[-2:], mode="bilinear", align_corners=False)[
        :, 0
    ]
    large = large - large.amin(dim=(1, 2), keepdim=True)
    large = large / large.amax(dim=(1, 2), keepdim=True).clamp_min(torch.finfo(large.dtype).tiny)
    return np.asarray(large.cpu().numpy(), dtype=np.float64)


def tint_images(images: Tensor, heat: FloatArray, preprocessing: Preprocessing) -> list[ImageArray]:
    """The model's own view of each image, tinted where it looked.

    Args:
        images: As in `compute_attribution`.
        heat: What it found.
        preprocessing: Mean and standard deviation that the images were normalised with.

    Returns:
        H x W x 3 each.
    """
    channels = images.shape[1]
    mean, std = (
        torch.tensor(values, device=images.device).expand(channels)[:, None, None]
        for values in (preprocessing.mean, preprocessing.std)
    )
    pixels = ((images.float() * std + mean).clamp(0, 1) * 255).cpu().numpy()
    views = pixels[:, :3] if channels >= 3 else np.repeat(pixels[:, :1], 3, axis=1)
    tint = colormaps[COLORS](heat)[..., :3] * 255
    strength = STRONGEST_TINT * heat[..., None]
    mixed = views.transpose(0, 2, 3, 1) * (1 - strength) + tint * strength
    return list(np.rint(mixed).astype(np.uint8))


def _grid(backbone: Backbone, images: Tensor) -> tuple[int, int] | None:
    if not backbone.levels:
        return None
    stride = backbone.levels[-1].stride
    return images.shape[-2] // stride, images.shape[-1] // stride


def _attends_everywhere(backbone: Backbone, image: Tensor, grid: tuple[int, int]) -> bool:
    """Whether each layer attends over all patches and at most a few tokens more; not over windows."""
    with torch.no_grad(), _attention_of(backbone) as attention:
        backbone(image)
    patches = grid[0] * grid[1]
    shapes = {tuple(matrix.shape) for matrix in attention}
    return len(shapes) == 1 and all(
        batch == 1 and patches <= tokens <= patches + MOST_PREFIX_TOKENS for batch, tokens, _ in shapes
    )


def _grad_cam(model: ImageClassifier, images: Tensor, classes: Sequence[int]) -> Tensor:
    """Weighted sum of the last feature map, B x h x w, without its negative part."""
    with torch.enable_grad(), _last_map_of(model.backbone) as maps:
        # A gradient with respect to the images makes frozen layers keep what the gradient needs.
        logits = model(images.detach().clone().requires_grad_())
        if not maps:
            raise EvaluationError(
                "This backbone has neither feature maps nor attention over the whole image.",
                found=type(model.backbone).__name__,
                hint="Switch explanations off for this model.",
            )
        chosen = logits[torch.arange(len(images)), torch.as_tensor(classes, device=images.device)]
        features = maps[-1]
        (gradient,) = torch.autograd.grad(chosen.sum(), features)
    axis = _channel_axis(features, model.backbone)
    places = tuple(d for d in (1, 2, 3) if d != axis)
    weights = gradient.mean(dim=places, keepdim=True)
    return (weights * features).sum(dim=axis).clamp_min(0).detach()


def _channel_axis(features: Tensor, backbone: Backbone) -> int:
    # Swin and its kin hold B x H x W x C.
    width = backbone.levels[-1].channels if backbone.levels else backbone.num_features
    return 3 if features.shape[3] == width != features.shape[1] else 1


@contextmanager
def _last_map_of(backbone: Backbone) -> Iterator[list[Tensor]]:
    """Collect the last output that still has places, as the forward pass goes on."""
    maps: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: tuple[Any, ...], output: object) -> None:
        if isinstance(output, Tensor) and output.dim() == 4 and min(output.shape[1:]) > 1:
            maps[:] = [output]

    with ExitStack() as hooks:
        for module in backbone.modules():
            hooks.callback(module.register_forward_hook(keep).remove)
        yield maps


def _attention_rollout(backbone: Backbone, images: Tensor, grid: tuple[int, int]) -> Tensor:
    """Attention of the class token (or of all tokens) to the patches through all layers, B x h x w."""
    with torch.no_grad(), _attention_of(backbone) as attention:
        backbone(images)
    tokens = attention[0].shape[-1]
    identity = torch.eye(tokens, device=images.device)
    flow = identity.expand(len(images), -1, -1)
    for matrix in attention:
        # Half of what a block passes on comes through its residual connection.
        flow = (matrix.float() + identity) / 2 @ flow
    prefix = tokens - grid[0] * grid[1]
    to_patches = flow[:, 0, prefix:] if prefix else flow.mean(dim=1)
    return to_patches.reshape(len(images), *grid)


@contextmanager
def _attention_of(backbone: Backbone) -> Iterator[list[Tensor]]:
    """Collect each layer's attention, averaged over its heads (B x tokens x tokens)."""
    found: list[Tensor] = []

    def ask(_module: nn.Module, inputs: tuple[Any, ...], options: dict[str, Any]) -> tuple[Any, Any]:
        return inputs, {**options, "need_weights": True, "average_attn_weights": True}

    def keep_returned(_module: nn.Module, _inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        found.append(output[1])

    def keep_dropped(_module: nn.Module, inputs: tuple[Tensor]) -> None:
        found.append(inputs[0].mean(dim=1))

    with ExitStack() as hooks:
        for module in backbone.modules():
            if isinstance(module, nn.MultiheadAttention):
                hooks.callback(module.register_forward_pre_hook(ask, with_kwargs=True).remove)
                hooks.callback(module.register_forward_hook(keep_returned).remove)
                continue
            # timm's attention computes its matrix in the open only where the fused kernel is off.
            dropout = getattr(module, "attn_drop", None)
            if isinstance(dropout, nn.Module) and getattr(module, "fused_attn", None) is not None:
                hooks.callback(setattr, module, "fused_attn", module.fused_attn)
                hooks.callback(dropout.register_forward_pre_hook(keep_dropped).remove)
                setattr(module, "fused_attn", False)  # noqa: B010  unknown to the type of the module
        yield found
