"""The `head` section: the task-specific output layers."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Discriminator, Field, Tag, model_validator

from transferflow.limits import MAX_NAMES
from transferflow.spec.sections.base import ChosenByKey, Count, Flag, Fraction, Section, Text

Dropout = Annotated[Fraction, Field(lt=1)]
DetectorKind = Literal["faster_rcnn", "retinanet", "fcos"]
SegmenterKind = Literal["deeplabv3", "fcn", "lite"]


def _has_one_gap(prompt: str) -> str:
    rest = prompt.replace("{}", "", 1)
    if rest == prompt or "{" in rest or "}" in rest:
        raise ValueError("a prompt has `{}` once, where the class name goes")
    return prompt


Prompt = Annotated[Text, AfterValidator(_has_one_gap)]


class LinearHead(Section):
    """Classifier on the pooled features."""

    kind: Literal["linear"] = "linear"
    dropout: Dropout = 0.0
    """Dropout before the last layer."""
    hidden: Annotated[tuple[Count, ...], Field(max_length=MAX_NAMES)] = ()
    """Widths of hidden layers between features and classes."""
    init: Literal["default", "zero", "prototypes", "text"] = "default"
    """Start of the last layer: library default, zeros, class means of the training features, or CLIP
    text embeddings of `prompts`."""
    prompts: Annotated[tuple[Prompt, ...], Field(min_length=1, max_length=MAX_NAMES)] = ("a photo of a {}.",)
    """Prompt templates for `init: text`; `{}` is the class name."""
    warm_start: Literal["champion"] | None = None
    """Carry over the rows of the champion's last layer, by class name."""

    @property
    def starts_with_classes(self) -> bool:
        """Whether the last layer tells the classes apart before any training, whatever the champion knows."""
        return self.init in ("prototypes", "text")


class ZeroShotHead(Section):
    """CLIP's text tower as the classifier; nothing is trained."""

    kind: Literal["zero_shot"]
    prompts: Annotated[tuple[Prompt, ...], Field(min_length=1, max_length=MAX_NAMES)] = ("a photo of a {}.",)
    """Prompt templates; `{}` is the class name."""


class DetectionHead(Section):
    """A torchvision detector on an FPN neck."""

    kind: DetectorKind = "faster_rcnn"
    score_threshold: Fraction = 0.05
    """Boxes below this score are dropped."""
    nms_threshold: Fraction = 0.5
    """Overlap (IoU) above which the weaker of two boxes of a class is dropped."""
    detections_per_image: Count = 100
    """Most boxes kept per image."""
    pyramid_channels: Literal[64, 128, 256] = 256
    """Width of the feature pyramid and of what follows; torchvision's COCO weights have 256, a light
    backbone on a CPU does with less."""


class SegmentationHead(Section):
    """A dense classifier on the last feature map."""

    kind: SegmenterKind = "deeplabv3"
    dropout: Dropout | None = None
    """Dropout in the head; left out: what torchvision has there, 0.5 for deeplabv3, 0.1 for the others."""
    auxiliary: Flag = True
    """Adds a second, weaker head on an earlier feature map while training."""
    auxiliary_weight: Fraction = 0.4
    """Weight of the auxiliary loss."""
    dice_weight: Fraction = 0.5
    """Share of the Dice loss; the rest is cross-entropy."""
    output_stride: Literal[2, 4, 8, 16] | None = None
    """Input pixels per pixel of the map that is classified. deeplabv3 and fcn: 8 (the default) or 16, where
    the backbone can dilate its last stages; lite: how far the decoder goes back up, by default to 4."""

    @model_validator(mode="after")
    def _stride_suits_the_head(self) -> Self:
        if self.kind != "lite" and self.output_stride in (2, 4):
            raise ValueError(f"{self.kind} has output_stride 8 or 16, found {self.output_stride}")
        return self


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
