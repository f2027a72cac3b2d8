"""CLIP without training: text embeddings as the classifier, or as the start of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from transferflow.errors import PlanError
from transferflow.models.backbones.from_timm import load_classifier
from transferflow.models.backbones.timm_weights import timm_file
from transferflow.models.clip_text import (
    TextTower,
    check_activation,
    clip_choice,
    embed_classes,
    load_text_tower,
)
from transferflow.models.heads import last_layer
from transferflow.models.layers import Backbone, LayerGroup, Preprocessing
from transferflow.models.weights.lock import verified_weights
from transferflow.spec.sections.backbone import Backbone as Section


@dataclass(frozen=True)
class TextClassifier:
    """What CLIP knows about the classes.

    Attributes:
        projection: From features to the space of the texts, dimensions x num_features.
        offset: Of the projection, dimensions.
        text: A unit vector per class, classes x dimensions.
        scale: What the cosine is multiplied with.
        bias: What is added to it.
    """

    projection: Tensor
    offset: Tensor
    text: Tensor
    scale: float
    bias: float


class ZeroShotHead(nn.Module):
    """scale x cosine(projected feature, text of the class) + bias; has no parameters, only buffers."""

    def __init__(self, num_features: int, dimensions: int, num_classes: int) -> None:
        super().__init__()
        self.projection: Tensor
        self.offset: Tensor
        self.text: Tensor
        self.scale: Tensor
        self.bias: Tensor
        self.register_buffer("projection", torch.zeros(dimensions, num_features))
        self.register_buffer("offset", torch.zeros(dimensions))
        self.register_buffer("text", torch.zeros(num_classes, dimensions))
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("bias", torch.zeros(()))

    def forward(self, features: Tensor) -> Tensor:
        """Logits, B x classes."""
        projected = F.normalize(F.linear(features, self.projection, self.offset), dim=-1)
        return self.scale * projected @ self.text.T + self.bias

    @torch.no_grad()
    def set_texts(self, known: TextClassifier) -> None:
        """Fill the buffers."""
        self.projection.copy_(known.projection)
        self.offset.copy_(known.offset)
        self.text.copy_(known.text)
        self.scale.fill_(known.scale)
        self.bias.fill_(known.bias)


class ZeroShotClassifier(nn.Module):
    """A CLIP image tower with its text tower's answer as the head; nothing in it is trained.

    Attributes:
        backbone: Image tower.
        head: Projection and class embeddings, as buffers.
        groups: The backbone's layer groups and one more without parameters, `head`.
        preprocessing: What the weights were trained with.
    """

    def __init__(self, backbone: Backbone, dimensions: int, num_classes: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = ZeroShotHead(backbone.num_features, dimensions, num_classes)
        head = LayerGroup("head", "head", (), ("head",))
        self.groups: tuple[LayerGroup, ...] = (
            *(group.prefixed("backbone") for group in backbone.groups),
            head,
        )
        self.preprocessing: Preprocessing = backbone.preprocessing

    def forward(self, images: Tensor) -> Tensor:
        """Logits, B x num_classes."""
        logits: Tensor = self.head(self.backbone(images))
        return logits


def build_zero_shot(
    section: Section,
    backbone: Backbone,
    classes: Sequence[str],
    prompts: Sequence[str],
    *,
    pretrained: bool = True,
    offline: bool = False,
) -> ZeroShotClassifier:
    """Put CLIP's text tower on a backbone built from the same section.

    Args:
        section: The backbone section; a timm model with CLIP weights.
        backbone: Built from it.
        classes: Class names in order.
        prompts: Templates; `{}` is the class name.
        pretrained: `False` leaves the head empty, for a plan or to load one's own weights into.
        offline: Never download.

    Raises:
        PlanError: If the weights have no text tower.
        WeightsError: If its files can't be had.
        MissingDependencyError: If open_clip is not installed.
    """
    dimensions = clip_choice(section).config.num_classes or backbone.num_features
    device = next(backbone.parameters()).device
    with torch.device(device):
        model = ZeroShotClassifier(backbone, dimensions, len(classes))
    if pretrained and device.type != "meta":
        model.head.set_texts(load_text_classifier(section, backbone, classes, prompts, offline=offline))
    return model


def load_text_classifier(
    section: Section,
    backbone: Backbone,
    classes: Sequence[str],
    prompts: Sequence[str],
    *,
    offline: bool = False,
    tower: TextTower | None = None,
) -> TextClassifier:
    """Embed the classes, and read the projection that the image tower's weights carry.

    Raises:
        PlanError: If the weights have no text tower, or were trained with another activation.
        WeightsError: If files can't be had or do not fit.
        MissingDependencyError: If open_clip is not installed.
    """
    choice = clip_choice(section)
    check_activation(section, backbone, offline=offline)
    found = tower or load_text_tower(section, offline=offline)
    text = embed_classes(found, classes, prompts)
    if choice.config.num_classes:
        file = verified_weights(timm_file(choice), offline=offline)
        projection, offset = load_classifier(choice, backbone.preprocessing.image_size, file)
    else:  # SigLIP: the pooled features are in the space of the texts already
        projection, offset = torch.eye(backbone.num_features), torch.zeros(backbone.num_features)
    if projection.shape != (text.shape[1], backbone.num_features):
        raise PlanError(
            "the image and the text tower do not meet in one space",
            where="backbone",
            found=f"a projection of {tuple(projection.shape)} for texts of {text.shape[1]} dimensions",
            allowed="a plain CLIP ViT or ConvNeXt",
        )
    return TextClassifier(projection, offset, text, found.scale, found.bias)


@torch.no_grad()
def set_text_embeddings(head: nn.Module, known: TextClassifier, features: Tensor) -> None:
    """Start a linear head at the text embeddings.

    A linear layer can't divide by the length of each projected feature; the mean length over `features`
    stands in for it.

    Args:
        head: From `heads.build_head`, without hidden layers.
        known: The classes as CLIP knows them.
        features: N x num_features: pooled features of training images.

    Raises:
        PlanError: If the head has hidden layers.
    """
    last = last_layer(head)
    if last.in_features != known.projection.shape[1]:
        raise PlanError(
            "`init: text` needs a head without hidden layers",
            where="head.hidden",
            found=f"a last layer of width {last.in_features} for {known.projection.shape[1]} features",
            allowed="hidden: []",
        )
    lengths = F.linear(features.float(), known.projection, known.offset).norm(dim=-1)
    scale = known.scale / lengths.mean().clamp(min=1e-6)
    last.weight.copy_(scale * known.text @ known.projection)
    last.bias.copy_(scale * known.text @ known.offset + known.bias)
