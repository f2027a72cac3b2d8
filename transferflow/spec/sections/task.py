"""The `task` section: which vision task the model solves."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StrictInt

from transferflow.spec.sections.base import Flag, Section

_USUAL_VOID = 255


class ClassificationTask(Section):
    """One label per image, or several with `multilabel: true`."""

    kind: Literal["classification"]
    multilabel: Flag = False
    """Whether an image may carry several labels at once (sigmoid per class instead of softmax)."""


class DetectionTask(Section):
    """Axis-aligned boxes with a class each."""

    kind: Literal["detection"]


class SegmentationTask(Section):
    """A class for every pixel."""

    kind: Literal["segmentation"]
    ignore_index: Annotated[StrictInt, Field(ge=0, le=255)] | None = None
    """Mask value that counts neither in the loss nor in the metrics; left out: 255, where the masks hold
    little of it. Masks of 0 and 255 alone are two classes."""

    @property
    def ignored_value(self) -> int:
        """What pixels that do not count have in the truth."""
        return _USUAL_VOID if self.ignore_index is None else self.ignore_index


Task = Annotated[ClassificationTask | DetectionTask | SegmentationTask, Field(discriminator="kind")]
TaskKind = Literal["classification", "detection", "segmentation"]
