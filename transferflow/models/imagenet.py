"""The classifier of ImageNet-1K that published weights carry, for classes that are named as ImageNet's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, assert_never

import torch
from torch import Tensor, nn
from torchvision.models import ResNet50_Weights

from transferflow.errors import PlanError
from transferflow.models.backbones.from_package import convert_lite0
from transferflow.models.backbones.from_timm import load_classifier
from transferflow.models.backbones.matching import rename_keys
from transferflow.models.backbones.timm_weights import resolve_timm
from transferflow.models.backbones.torchvision_geometry import geometry_of, known_name
from transferflow.models.backbones.weights import locate_weights
from transferflow.models.heads import last_layer
from transferflow.models.layers import Backbone
from transferflow.models.weights.lock import verified_weights
from transferflow.models.weights.state_files import read_state
from transferflow.spec.sections.backbone import Backbone as Section
from transferflow.spec.sections.backbone import (
    CheckpointBackbone,
    PackageBackbone,
    TimmBackbone,
    TorchvisionBackbone,
)
from transferflow.spec.wording import did_you_mean

CLASSES = 1000
_SHOWN = 20
_WHAT_FITS = "train for an epoch or more, or let the head begin with class means: head.init prototypes"


def apply_imagenet_classes(
    head: nn.Module, section: Section, backbone: Backbone, classes: Sequence[str], *, pretrained: bool
) -> None:
    """Give the last layer the rows of ImageNet's classes that the weights carry.

    Args:
        head: From `heads.build_head`, without hidden layers.
        section: The backbone section.
        backbone: Built from it.
        classes: Class names in order: WordNet ids, or names as torchvision has them.
        pretrained: `False` looks at the names alone.

    Raises:
        PlanError: If a class is none of ImageNet's, or the weights have no such classifier.
        WeightsError: If the weights are not to be had.
    """
    rows = list(find_rows(classes))
    last = last_layer(head)
    if not pretrained or last.weight.is_meta:
        return
    weight, bias = _load_classifier(section, backbone)
    if weight.shape != (CLASSES, last.in_features):
        raise _no_classifier(section, f"one of {weight.shape[0]} classes, {weight.shape[1]} features wide")
    with torch.no_grad():
        last.weight.copy_(weight[rows])
        last.bias.copy_(bias[rows])


def find_rows(classes: Sequence[str]) -> tuple[int, ...]:
    """The number that ImageNet-1K gives to each of some classes.

    Raises:
        PlanError: If one is none of its classes, or two are the same.
    """
    known = _numbers()
    unknown = [name for name in classes if _plain(name) not in known]
    if unknown:
        close = did_you_mean(unknown[0], known)
        raise PlanError(
            "nothing is trained, and ImageNet-1K does not know each class",
            where="training.epochs",
            found=", ".join(unknown[:_SHOWN]) + (", …" if len(unknown) > _SHOWN else ""),
            allowed="WordNet ids such as n01440764, or torchvision's names such as tench"
            + (f"; {close}" if close else ""),
            hint=_WHAT_FITS,
        )
    rows = tuple(known[_plain(name)] for name in classes)
    twice = [name for name, row in zip(classes, rows, strict=True) if rows.count(row) > 1]
    if twice:
        raise PlanError(
            "two classes are one of ImageNet-1K's", where="data.classes", found=", ".join(twice[:_SHOWN])
        )
    return rows


def _numbers() -> Mapping[str, int]:
    from timm.data.imagenet_info import ImageNetInfo  # timm takes half a second to import

    names = [_plain(name) for name in ResNet50_Weights.DEFAULT.meta["categories"]]
    info: Any = ImageNetInfo("imagenet-1k")
    ids = info.label_names()
    return {name: number for known in (names, ids) for number, name in enumerate(known)}


def _plain(name: str) -> str:
    """Folders are often called `golden_retriever`."""
    return name.lower().replace("_", " ")


def _load_classifier(section: Section, backbone: Backbone) -> tuple[Tensor, Tensor]:
    """Weight (classes x features) and bias of the last layer in the weights' file."""
    file = locate_weights(section)
    if file is None:
        raise _no_classifier(section, "none")
    path = verified_weights(file)
    match section:
        case TorchvisionBackbone():
            return _layer(section, read_state(path), geometry_of(section.name).head)
        case TimmBackbone():
            choice = resolve_timm(section.name, section.weights)
            return load_classifier(choice, backbone.preprocessing.image_size, path)
        case CheckpointBackbone():
            state = rename_keys(read_state(path), section.prefix, section.key_map, ())
            return _layer(section, state, _classifier_path(section))
        case PackageBackbone():
            return _layer(section, convert_lite0(read_state(path)), "classifier")
        case _:
            assert_never(section)


def _classifier_path(section: CheckpointBackbone) -> str:
    if section.library == "torchvision":
        return geometry_of(known_name(section.name)).head
    return str(resolve_timm(section.name, "none").config.classifier)


def _layer(section: Section, state: Mapping[str, Tensor], path: str) -> tuple[Tensor, Tensor]:
    weight, bias = state.get(f"{path}.weight"), state.get(f"{path}.bias")
    if weight is None or bias is None or weight.ndim != 2:
        raise _no_classifier(section, f"no linear layer {path}")
    return weight.float(), bias.float()


def _no_classifier(section: Section, found: str) -> PlanError:
    return PlanError(
        "nothing is trained, and the weights carry no classifier of ImageNet-1K on the pooled features",
        where=f"backbone.weights: {section.weights}",
        found=found,
        allowed=f"a linear layer of {CLASSES} classes",
        hint=_WHAT_FITS,
    )
