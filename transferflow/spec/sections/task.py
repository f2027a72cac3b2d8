"""The `task` section: which vision task the model solves, and what goes with it.

What other sections may say, and what they mean when they are left out, stands here with each task: adding one
adds a class to this module and its name to `Task`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, get_args

from pydantic import Field, StrictInt

from transferflow.spec.sections.base import Flag, Section
from transferflow.spec.sections.data import FitMode
from transferflow.spec.sections.freeze import FreezeBackbone, FreezeNone
from transferflow.spec.sections.head import DetectionHead, Head, LinearHead, SegmentationHead, ZeroShotHead
from transferflow.spec.sections.metrics import (
    DETECTION,
    MULTI_LABEL,
    REGRESSION,
    SEGMENTATION,
    SINGLE_LABEL,
    TaskMetrics,
)
from transferflow.spec.sections.truth import BoxTruth, LabelTruth, MaskTruth, NumberTruth

Setting = Literal[
    "class_weights",
    "label_smoothing",
    "specificity",
    "calibrate",
    "mixing",
    "probes",
    "decision",
    "mask_size",
]


@dataclass(frozen=True)
class TaskTraits:
    """What suits a task.

    Attributes:
        formats: Values of `data.format` that hold its truth.
        heads: Heads that it can have, as they are by default; the first is taken where the spec names none.
        fit: How an image becomes the model's square where the spec leaves it open; only a task that crops by
            default may crop at all.
        freeze: Freeze policy where the spec leaves it open.
        backbone_lr_scale: Scale of the backbone's rates where the spec leaves it open.
        small_data_freezes: Whether the guide suggests feature extraction for small data.
        settings: Settings of other sections that mean something for it, and not for every task.
        pipeline_tag: What Hugging Face calls it.
    """

    formats: tuple[str, ...]
    heads: tuple[Head, ...]
    fit: FitMode
    freeze: FreezeNone | FreezeBackbone
    backbone_lr_scale: float
    small_data_freezes: bool
    settings: frozenset[Setting]
    pipeline_tag: str


class ClassificationTask(Section):
    """One label per image, or several with `multilabel: true`."""

    traits: ClassVar[TaskTraits] = TaskTraits(
        formats=("image_folder", "csv", "parquet", "dicom"),
        heads=(LinearHead(), ZeroShotHead(kind="zero_shot")),
        fit="crop",
        freeze=FreezeNone(policy="none"),
        backbone_lr_scale=1.0,
        small_data_freezes=True,
        settings=frozenset(
            {"class_weights", "label_smoothing", "specificity", "calibrate", "mixing", "probes", "decision"}
        ),
        pipeline_tag="image-classification",
    )
    kind: Literal["classification"]
    multilabel: Flag = False
    """Whether an image may carry several labels at once (sigmoid per class instead of softmax)."""

    @property
    def truth(self) -> LabelTruth:
        """What it learns from."""
        return LabelTruth(several=self.multilabel)

    @property
    def metrics(self) -> TaskMetrics:
        """Metrics that it has."""
        return MULTI_LABEL if self.multilabel else SINGLE_LABEL


class DetectionTask(Section):
    """Axis-aligned boxes with a class each."""

    traits: ClassVar[TaskTraits] = TaskTraits(
        formats=("coco", "voc", "yolo"),
        heads=(DetectionHead(), DetectionHead(kind="retinanet"), DetectionHead(kind="fcos")),
        fit="letterbox",
        freeze=FreezeNone(policy="none"),
        backbone_lr_scale=0.1,
        small_data_freezes=False,
        settings=frozenset(),
        pipeline_tag="object-detection",
    )
    metrics: ClassVar[TaskMetrics] = DETECTION
    truth: ClassVar[BoxTruth] = BoxTruth()
    kind: Literal["detection"]


class SegmentationTask(Section):
    """A class for every pixel."""

    traits: ClassVar[TaskTraits] = TaskTraits(
        formats=("mask_folder", "coco"),
        heads=(SegmentationHead(), SegmentationHead(kind="fcn"), SegmentationHead(kind="lite")),
        fit="letterbox",
        freeze=FreezeBackbone(policy="backbone"),
        backbone_lr_scale=1.0,
        small_data_freezes=False,
        settings=frozenset({"class_weights", "mask_size"}),
        pipeline_tag="image-segmentation",
    )
    metrics: ClassVar[TaskMetrics] = SEGMENTATION
    kind: Literal["segmentation"]
    ignore_index: Annotated[StrictInt, Field(ge=0, le=255)] | None = None
    """Mask value that counts neither in the loss nor in the metrics; left out: 255, where the masks hold
    little of it. Masks of 0 and 255 alone are two classes."""

    @property
    def truth(self) -> MaskTruth:
        """What it learns from."""
        return MaskTruth(self.ignore_index)


class RegressionTask(Section):
    """A number for each image: the column `data.columns.label` of a table."""

    traits: ClassVar[TaskTraits] = TaskTraits(
        formats=("csv", "parquet"),
        heads=(LinearHead(),),
        fit="crop",
        freeze=FreezeNone(policy="none"),
        backbone_lr_scale=1.0,
        small_data_freezes=True,
        settings=frozenset({"probes"}),
        pipeline_tag="image-feature-extraction",
    )
    metrics: ClassVar[TaskMetrics] = REGRESSION
    truth: ClassVar[NumberTruth] = NumberTruth()
    kind: Literal["regression"]
    loss: Literal["mse", "huber"] = "mse"
    """Loss in standard deviations of the training images: squared, or Huber's (smooth L1), which outliers
    pull less."""


Task = Annotated[
    ClassificationTask | DetectionTask | SegmentationTask | RegressionTask, Field(discriminator="kind")
]
TASKS: dict[str, TaskTraits] = {
    get_args(variant.model_fields["kind"].annotation)[0]: variant.traits
    for variant in get_args(get_args(Task)[0])
}
"""Traits by `task.kind`."""
