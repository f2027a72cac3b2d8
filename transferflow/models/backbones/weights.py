"""The weights that a `backbone` section asks for: which file, and whether it is here."""

from __future__ import annotations

from typing import assert_never

from transferflow.models.backbones.from_checkpoint import checkpoint_file
from transferflow.models.backbones.from_package import package_file
from transferflow.models.backbones.timm_weights import resolve_timm, timm_file
from transferflow.models.backbones.torchvision_weights import (
    dense_weights,
    resolve_torchvision,
    torchvision_file,
)
from transferflow.models.weights.files import WeightFile
from transferflow.spec.sections.backbone import (
    Backbone,
    CheckpointBackbone,
    PackageBackbone,
    TimmBackbone,
    TorchvisionBackbone,
)


def locate_weights(section: Backbone) -> WeightFile | None:
    """The file that the section asks for; `None` for `weights: none`, and for weights of whole dense models.

    Raises:
        PlanError: If there is no such model.
        WeightsError: If the model has no such weights.
    """
    match section:
        case TorchvisionBackbone():
            published = resolve_torchvision(section.name, section.weights)
            return None if published is None else torchvision_file(published)
        case TimmBackbone():
            choice = resolve_timm(section.name, section.weights)
            return timm_file(choice) if choice.pretrained else None
        case CheckpointBackbone():
            return checkpoint_file(section)
        case PackageBackbone():
            return package_file(section.sha256)
        case _:
            assert_never(section)


def is_dense(section: Backbone) -> bool:
    """Whether the section names weights of a whole detector or segmenter (COCO)."""
    return isinstance(section, TorchvisionBackbone) and section.weights in dense_weights(section.name)
