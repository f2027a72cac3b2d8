"""A loaded model that answers about images given in whatever form they are at hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from transferflow.errors import DataError, Problem
from transferflow.inference.predict import predict_images
from transferflow.inference.sources import Failure, Images, NamedImage, Source, flatten
from transferflow.spec import ExperimentSpec
from transferflow.tasks.answers import Prediction
from transferflow.tasks.build import build_task
from transferflow.tasks.bundle import Bundle


@dataclass(frozen=True)
class Model:
    """A trained model, ready to predict.

    Attributes:
        bundle: Weights, classes, eval transform and spec.
    """

    bundle: Bundle

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in order; in regression the name of the column."""
        return self.bundle.classes

    @property
    def spec(self) -> ExperimentSpec:
        """The spec that it was trained with."""
        return self.bundle.spec

    def predict(
        self, images: Images, *, min_score: float | None = None, tile: int | None = None
    ) -> list[Prediction]:
        """Predict on images, through the very transform that the model was evaluated with.

        Args:
            images: One image, or any number of them in any iterable, as:
                a path of a file, or of a folder, which stands for the image files in it;
                `bytes`, the content of an image file;
                a Pillow image;
                a numpy array H x W or H x W x C (RGB), or a batch of them N x H x W x C;
                a tensor C x H x W (or H x W), or a batch of them N x C x H x W.
                Values are 0..255 (uint8), or wider integers, which `data.intensity` of the model's spec
                brings to 0..255. Floats are refused unless that is a percentile or a window: nobody knows
                their range.
            min_score: Leave out boxes below this score, 0..1; left out: the score of the best F1 on the
                validation images.
            tile: Side in pixels of overlapping tiles for large images (detection, segmentation).

        Returns:
            A typed answer per image, in their order.

        Raises:
            DataError: If an image can't be read; it names each such image.
            PlanError: If tiles are asked for, and the answer is about the image as a whole.
        """
        answers = answer_images(self.bundle, list(flatten(images)), min_score=min_score, tile=tile)
        failures = [answer for answer in answers if isinstance(answer, Failure)]
        if failures:
            raise DataError.from_problems([Problem(one.reason, where=one.path) for one in failures])
        return [answer for answer in answers if not isinstance(answer, Failure)]


def answer_images(
    bundle: Bundle,
    images: Sequence[tuple[str, Source]],
    *,
    min_score: float | None = None,
    tile: int | None = None,
) -> list[Prediction | Failure]:
    """An answer, or the reason why there is none, per image and in their order.

    Args:
        bundle: The model.
        images: Each with a name for people; two may have the same.
        min_score: See `predict_images`.
        tile: See `predict_images`.
    """
    numbered = [NamedImage(str(number), source) for number, (_, source) in enumerate(images)]
    with TemporaryDirectory(prefix="transferflow-") as scratch:
        predictions = predict_images(bundle, numbered, Path(scratch), min_score=min_score, tile=tile)
        answers = build_task(bundle.spec).output.answers(predictions.found)
    by_number: dict[int, Prediction | Failure] = {
        int(failure.path): replace(failure, path=images[int(failure.path)][0])
        for failure in predictions.failures
    }
    for answer in answers:
        number = int(answer.image)
        by_number[number] = replace(answer, image=images[number][0])
    return [by_number[number] for number in range(len(images))]
