"""torchvision's classification models as backbones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torchvision.models as library
from torch import Tensor, nn
from torchvision.models.vision_transformer import interpolate_embeddings

from transferflow.errors import PlanError, WeightsError
from transferflow.models.backbones.grouping import compile_groups
from transferflow.models.backbones.matching import unfit_values, values_error
from transferflow.models.backbones.sizes import patch_error
from transferflow.models.backbones.torchvision_geometry import Geometry, geometry_of
from transferflow.models.backbones.torchvision_slices import slice_torchvision
from transferflow.models.channels import ChannelPlan, adapt_input
from transferflow.models.layers import Backbone, FeatureLevel, Preprocessing
from transferflow.spec.sections.backbone import TorchvisionName
from transferflow.spec.sections.size import Size, show_size

State = Mapping[str, Tensor]
PATCH = 16
STRIDES = (4, 8, 16, 32)


class TorchvisionBackbone(Backbone):
    """A torchvision model without its classifier."""

    def __init__(
        self,
        model: nn.Module,
        name: TorchvisionName,
        preprocessing: Preprocessing,
    ) -> None:
        super().__init__()
        geometry = geometry_of(name)
        self.model = model
        self.geometry = geometry
        self.num_features = geometry.num_features
        self.preprocessing = preprocessing
        self.first_convs = (f"model.{geometry.first_conv}",)
        self.groups = compile_groups(self, slice_torchvision(self, geometry.family))
        strides = STRIDES if len(geometry.channels) > 1 else (PATCH,)
        self.levels = tuple(
            FeatureLevel(_level_name(geometry, number), channels, stride)
            for number, (channels, stride) in enumerate(zip(geometry.channels, strides, strict=True))
        )

    def forward(self, images: Tensor) -> Tensor:
        """Pooled features, B x num_features."""
        features: Tensor = self.model(images)
        return features

    def forward_levels(self, images: Tensor) -> list[Tensor]:
        """Feature maps, from fine to coarse."""
        match self.geometry.family:
            case "resnet":
                return _resnet_levels(self.model, images)
            case "efficientnet" | "convnext":
                return _staged_levels(self.model.get_submodule("features"), self.geometry.stages, images)
            case "vit":
                return [_vit_level(self.model, images)]


def build_torchvision(
    name: TorchvisionName,
    preprocessing: Preprocessing,
    plan: ChannelPlan,
    *,
    state: State | None = None,
    device: str = "cpu",
) -> TorchvisionBackbone:
    """Build the model, load `state` strictly, and adapt its first convolution.

    Args:
        name: Model's name.
        preprocessing: What the weights were trained with; `image_size` is what the model is built for.
        plan: Input channels.
        state: Published weights; `None` leaves the library's random start.
        device: `meta` for shapes alone.

    Raises:
        PlanError: If the model can't take the image size or the channels.
        WeightsError: If the weights do not fit.
    """
    size = preprocessing.image_size
    model = build_architecture(name, size, device if state is None else "meta")
    if state is not None:
        load_strictly(model, prepare_state(name, state, size), name)
    adapted = adapt_input(model, preprocessing, plan, (geometry_of(name).first_conv,))
    return TorchvisionBackbone(model, name, adapted)


def build_architecture(name: TorchvisionName, image_size: Size, device: str) -> nn.Module:
    """Build the model with an identity in place of its classifier.

    Raises:
        PlanError: If the model can't take the image size.
    """
    arguments: dict[str, Any] = {}
    geometry = geometry_of(name)
    if geometry.family == "vit":
        arguments["image_size"] = _side(name, image_size)
    if geometry.family == "convnext" and min(image_size) < STRIDES[-1]:  # its convolutions have no padding
        raise PlanError(
            f"{name} can't take images of {show_size(image_size)} pixels",
            where="data.image_size",
            found=show_size(image_size),
            allowed=f"{STRIDES[-1]} or more",
        )
    builder: Callable[..., nn.Module] = getattr(library, name)
    with torch.device(device):
        model = builder(weights=None, **arguments)
    parent, _, child = geometry.head.rpartition(".")
    if geometry.family == "efficientnet":  # its dropout belongs to the head that is taken off
        parent, child = "", "classifier"
    model.get_submodule(parent).register_module(child, nn.Identity())
    return model


def _side(name: TorchvisionName, image_size: Size) -> int:
    """Side of the square that torchvision's ViT, which knows no other shape, is built for."""
    if any(side % PATCH for side in image_size):
        raise patch_error(name, image_size, PATCH)
    if image_size[0] != image_size[1]:
        raise PlanError(
            f"{name} of torchvision takes squares only",
            where="data.image_size",
            found=show_size(image_size),
            allowed="one number, the side of a square",
            hint="timm's ViTs take rectangles: `backbone: {source: timm, name: vit_base_patch16_224}`",
        )
    return image_size[0]


def load_strictly(model: nn.Module, state: State, name: str) -> None:
    """Load every tensor; nothing stays random.

    Raises:
        WeightsError: If a key is missing, unexpected, or of another shape.
    """
    if unfit := unfit_values(model, state):
        raise values_error(unfit, "backbone.weights")
    try:
        model.load_state_dict(dict(state), strict=True, assign=True)
    except RuntimeError as error:
        raise WeightsError(
            f"the weights do not fit {name}",
            where="backbone.weights",
            found=str(error)[:800],
            hint="choose weights that were made for this model",
        ) from error


def prepare_state(name: TorchvisionName, state: State, image_size: Size) -> dict[str, Tensor]:
    """Drop the classifier; resample a ViT's position embeddings to the image size."""
    geometry = geometry_of(name)
    kept = {key: value for key, value in state.items() if not key.startswith(f"{geometry.head}.")}
    if geometry.family == "vit" and "encoder.pos_embedding" in kept:
        resampled = interpolate_embeddings(_side(name, image_size), PATCH, kept, interpolation_mode="bicubic")
        kept = dict(resampled)
    return kept


def _level_name(geometry: Geometry, number: int) -> str:
    match geometry.family:
        case "resnet":
            return f"layer{number + 1}"
        case "efficientnet" | "convnext":
            return f"features.{geometry.stages[number]}"
        case "vit":
            return "ln"


def _resnet_levels(model: nn.Module, images: Tensor) -> list[Tensor]:
    x = images
    for name in ("conv1", "bn1", "relu", "maxpool"):
        x = model.get_submodule(name)(x)
    levels = []
    for name in ("layer1", "layer2", "layer3", "layer4"):
        x = model.get_submodule(name)(x)
        levels.append(x)
    return levels


def _staged_levels(features: nn.Module, stages: Sequence[int], images: Tensor) -> list[Tensor]:
    x, levels = images, []
    for number, stage in enumerate(features.children()):
        if number > max(stages):
            break
        x = stage(x)
        if number in stages:
            levels.append(x)
    return levels


def _vit_level(model: nn.Module, images: Tensor) -> Tensor:
    if not isinstance(model, library.VisionTransformer):
        raise TypeError(type(model).__name__)
    tokens = model._process_input(images)
    token = model.class_token.expand(len(images), -1, -1)
    encoded: Tensor = model.encoder(torch.cat([token, tokens], 1))[:, 1:]
    rows, columns = images.shape[2] // PATCH, images.shape[3] // PATCH
    return encoded.transpose(1, 2).reshape(len(images), -1, rows, columns)
