"""The `head` section: the task-specific output layers."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag

from transferflow.spec.base import ChosenByKey, Count, Flag, Fraction, Section, Text

Dropout = Annotated[Fraction, Field(lt=1)]


class LinearHead(Section):
    """Classifier on the pooled features."""

    kind: Literal["linear"] = "linear"
    dropout: Dropout = 0.0
    """Dropout before the last layer."""
    hidden: tuple[Count, ...] = ()
    """Widths of hidden layers between features and classes."""
    init: Literal["default", "zero", "prototypes", "text"] = "default"
    """Start of the last layer: library default, zeros, class means of the training features, or CLIP
    text embeddings of `prompts`."""
    prompts: tuple[Text, ...] = ("a photo of a {}.",)
    """Prompt templates for `init: text`; `{}` is the class name."""
    warm_start: Literal["champion"] | None = None
    """Carry over the rows of the champion's last layer, by class name."""


class ZeroShotHead(Section):
    """CLIP's text tower as the classifier; nothing is trained."""

    kind: Literal["zero_shot"]
    prompts: Annotated[tuple[Text, ...], Field(min_length=1)] = ("a photo of a {}.",)
    """Prompt templates; `{}` is the class name."""


class DetectionHead(Section):
    """A torchvision detector on an FPN neck."""

    kind: Literal["faster_rcnn", "retinanet", "fcos"]
    score_threshold: Fraction = 0.05
    """Boxes below this score are dropped."""
    nms_threshold: Fraction = 0.5
    """Overlap (IoU) above which the weaker of two boxes of a class is dropped."""
    detections_per_image: Count = 100
    """Most boxes kept per image."""


class SegmentationHead(Section):
    """A dense classifier on the last feature map."""

    kind: Literal["deeplabv3", "fcn", "lite"]
    dropout: Dropout = 0.1
    """Dropout before the last layer."""
    auxiliary: Flag = True
    """Adds a second, weaker head on an earlier feature map while training."""
    auxiliary_weight: Fraction = 0.4
    """Weight of the auxiliary loss."""
    dice_weight: Fraction = 0.5
    """Share of the Dice loss; the rest is cross-entropy."""
    output_stride: Literal[8, 16] = 8
    """Input pixels per feature pixel."""


Head = Annotated[
    Annotated[LinearHead, Tag("linear")]
    | Annotated[ZeroShotHead, Tag("zero_shot")]
    | Annotated[DetectionHead, Tag("faster_rcnn")]
    | Annotated[DetectionHead, Tag("retinanet")]
    | Annotated[DetectionHead, Tag("fcos")]
    | Annotated[SegmentationHead, Tag("deeplabv3")]
    | Annotated[SegmentationHead, Tag("fcn")]
    | Annotated[SegmentationHead, Tag("lite")],
    Discriminator(ChosenByKey("kind", "linear")),
]
