"""The guide that defaults follow: what suits which task, when the spec leaves it open."""

from __future__ import annotations

from typing import TYPE_CHECKING

from transferflow.spec.freeze import FreezeBackbone, FreezeNone
from transferflow.spec.head import DetectionHead, LinearHead, SegmentationHead
from transferflow.spec.task import ClassificationTask, DetectionTask, SegmentationTask

if TYPE_CHECKING:
    from transferflow.spec.experiment import ExperimentSpec

AnyTask = ClassificationTask | DetectionTask | SegmentationTask


def default_freeze(task: AnyTask | None) -> FreezeNone | FreezeBackbone:
    """Segmentation tunes the decoder on a frozen encoder; the others fine-tune everything."""
    return (
        FreezeBackbone(policy="backbone") if isinstance(task, SegmentationTask) else FreezeNone(policy="none")
    )


def default_head(task: AnyTask | None) -> LinearHead | DetectionHead | SegmentationHead:
    """A linear classifier, Faster R-CNN, or DeepLabV3."""
    match task:
        case DetectionTask():
            return DetectionHead()
        case SegmentationTask():
            return SegmentationHead()
        case _:
            return LinearHead()


def backbone_lr_scale(spec: ExperimentSpec) -> float:
    """Scale of the backbone's rates: the spec's, or a tenth for detection and one for the rest."""
    if spec.optimizer.backbone_lr_scale is not None:
        return spec.optimizer.backbone_lr_scale
    if spec.optimizer.layer_decay is not None:
        return 1.0
    return 0.1 if isinstance(spec.task, DetectionTask) else 1.0
