"""Answers about one image, typed by their form: what the library returns and the server sends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class LabelPrediction:
    """Classes of an image as a whole.

    Attributes:
        image: Name of the image.
        labels: The likeliest class; of several labels those with a probability of 0.5 or more, maybe none. A
            model with thresholds of its own goes by those.
        score: Probability of the label, 0..1; of several, or none, that of the likeliest class.
        probabilities: Of every class, by name, in class order.
        plausible: Classes that hold the right one as often as `evaluation.conformal` says; `None` without it.
    """

    image: str
    labels: tuple[str, ...]
    score: float
    probabilities: Mapping[str, float]
    plausible: tuple[str, ...] | None = None


@dataclass(frozen=True, eq=False)
class BoxPrediction:
    """Objects in an image, the surest first.

    Attributes:
        image: Name of the image.
        size: Its width and height in pixels.
        boxes: float32, N x 4: x_min, y_min, x_max, y_max in pixels of the image.
        scores: float32, N, 0..1.
        labels: Class of each box.
    """

    image: str
    size: tuple[int, int]
    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    labels: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class MaskPrediction:
    """The class of each pixel.

    Attributes:
        image: Name of the image.
        mask: uint8, H x W of the image: numbers into `classes`.
        classes: Class names in order.
    """

    image: str
    mask: NDArray[np.uint8]
    classes: tuple[str, ...]

    @property
    def shares(self) -> Mapping[str, float]:
        """Share of the pixels that each class has, 0..1."""
        return {name: float((self.mask == number).mean()) for number, name in enumerate(self.classes)}


@dataclass(frozen=True)
class NumberPrediction:
    """A number for an image.

    Attributes:
        image: Name of the image.
        value: In the unit of the data.
    """

    image: str
    value: float


Prediction = LabelPrediction | BoxPrediction | MaskPrediction | NumberPrediction
