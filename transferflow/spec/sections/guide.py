"""The guide that defaults follow: what suits which task, when the spec leaves it open."""

from __future__ import annotations

from transferflow.spec.sections.freeze import FreezeBackbone, FreezeNone
from transferflow.spec.sections.head import DetectionHead, LinearHead, SegmentationHead
from transferflow.spec.sections.optimizer import AdamW, Sgd
from transferflow.spec.sections.task import ClassificationTask, DetectionTask, SegmentationTask

# The first of each is the task's default.
HEADS = {
    "classification": ("linear", "zero_shot"),
    "detection": ("faster_rcnn", "retinanet", "fcos"),
    "segmentation": ("deeplabv3", "fcn", "lite"),
}
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


def backbone_lr_scale(optimizer: AdamW | Sgd, task: AnyTask) -> float:
    """Scale of the backbone's rates: the spec's, or a tenth for detection and one for the rest."""
    if optimizer.backbone_lr_scale is not None:
        return optimizer.backbone_lr_scale
    if optimizer.layer_decay is not None:
        return 1.0
    return 0.1 if isinstance(task, DetectionTask) else 1.0
