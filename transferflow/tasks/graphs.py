"""Models as plain functions of tensors, as other runtimes take them: images in, named tensors out."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True)
class BoxCut:
    """What keeps a box out of an answer.

    Attributes:
        least_score: Boxes below it are left out, 0..1.
        most: Boxes that an answer has at most.
    """

    least_score: float
    most: int


@dataclass(frozen=True)
class Graph:
    """A model as a function from B x C x H x W, normalised float32, to tensors.

    Attributes:
        module: In eval mode.
        outputs: Name and meaning of each output, with its shape.
        cut: Of one that answers with boxes, scores and labels, for one image at a time; `None`: it answers
            with values in a fixed order, for any number of images.
    """

    module: nn.Module
    outputs: tuple[tuple[str, str], ...]
    cut: BoxCut | None = None

    @property
    def any_batch(self) -> bool:
        """Whether it takes any number of images; else one at a time."""
        return self.cut is None


class Probabilities(nn.Module):
    """B x classes, 0..1.

    Args:
        model: Gives logits.
        several: Whether an image may have several classes, so that each is a question of its own.
    """

    def __init__(self, model: nn.Module, *, several: bool) -> None:
        super().__init__()
        self.model = model
        self._several = several

    def forward(self, images: Tensor) -> Tensor:
        """Probabilities of the classes."""
        logits: Tensor = self.model(images).float()
        return logits.sigmoid() if self._several else logits.softmax(1)


class PixelScores(nn.Module):
    """B x classes x H x W: logits of each pixel; the largest is the pixel's class."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """Logits of the pixels."""
        scores: Tensor = self.model(images)["out"]
        return scores.float()


class OneImagesBoxes(nn.Module):
    """Boxes of one image.

    Args:
        model: A torchvision detector.
        first: Number that the detector gives to the first class.
    """

    def __init__(self, model: nn.Module, first: int) -> None:
        super().__init__()
        self.model = model
        self._first = first

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Boxes (N x 4), scores (N) and labels (N) of a batch of one."""
        found = self.model([images[0]])[0]
        return found["boxes"].float(), found["scores"].float(), found["labels"] - self._first
