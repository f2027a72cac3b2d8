"""What is known to be right about an image, by its form: what a data set holds and a model learns.

A task says which form it needs (`task.truth`); the data layer knows these forms, and no task. Each form says
of itself what the readers, checks and transforms ask: the type checker misses the answer of a new one.

- `moving`: what lies on the pixels, and so moves with the image when it is varied.
- `several`: whether a cell of a table may hold several labels, or none.
- `is_number`: whether an image has a number, and no classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

_USUAL_VOID = 255
Moving = Literal["boxes", "mask"] | None


@dataclass(frozen=True)
class LabelTruth:
    """Class names of a whole image.

    Attributes:
        several: Whether an image may have several, or none; else each has just one.
    """

    moving: ClassVar[Moving] = None
    is_number: ClassVar[bool] = False
    several: bool = False


@dataclass(frozen=True)
class BoxTruth:
    """Boxes with a class each."""

    moving: ClassVar[Moving] = "boxes"
    several: ClassVar[bool] = False
    is_number: ClassVar[bool] = False


@dataclass(frozen=True)
class MaskTruth:
    """A class for every pixel.

    Attributes:
        ignore_index: Mask value of pixels that count neither in the loss nor in the metrics; `None` where
            the spec leaves it open.
    """

    moving: ClassVar[Moving] = "mask"
    several: ClassVar[bool] = False
    is_number: ClassVar[bool] = False
    ignore_index: int | None = None

    @property
    def ignored_value(self) -> int:
        """What pixels that do not count have in the truth."""
        return _USUAL_VOID if self.ignore_index is None else self.ignore_index


@dataclass(frozen=True)
class NumberTruth:
    """A number for a whole image."""

    moving: ClassVar[Moving] = None
    several: ClassVar[bool] = False
    is_number: ClassVar[bool] = True


Truth = LabelTruth | BoxTruth | MaskTruth | NumberTruth
