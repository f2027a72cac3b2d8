"""Classification metrics as functions of image multiplicities."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from transferflow.errors import EvaluationError
from transferflow.evaluation.classification.calibration import calibration_statistic
from transferflow.evaluation.classification.ranking import (
    CumulativeCounts,
    Ranking,
    auroc,
    average_precision,
    build_ranking,
    cumulative_counts,
    sensitivity_at_specificity,
)
from transferflow.evaluation.results import require_images, require_known
from transferflow.evaluation.statistics.bootstrap import FloatArray, Statistic, nan_mean, ratio
from transferflow.spec.sections.metrics import MULTI_LABEL, SENSITIVITY, SINGLE_LABEL

MULTILABEL_THRESHOLD = 0.5
RANK_METRICS = ("auroc", "average_precision", SENSITIVITY)
_KNOWN = tuple(dict.fromkeys((*SINGLE_LABEL.names, *MULTI_LABEL.names)))


@dataclass(frozen=True)
class ClassificationSample:
    """Predictions beside the truth.

    Attributes:
        probabilities: Images x classes, 0..1.
        truth: Images x classes: whether the image has the class.
        predicted: Images x classes: whether the model says so.
        multilabel: Whether an image may have several classes, or none.
    """

    probabilities: FloatArray
    truth: npt.NDArray[np.bool_]
    predicted: npt.NDArray[np.bool_]
    multilabel: bool

    @property
    def images(self) -> int:
        """Number of images."""
        return int(self.truth.shape[0])

    @property
    def ranked_classes(self) -> tuple[int, ...]:
        """Classes whose scores are ranked: all, but only the second of two exclusive ones."""
        classes = self.truth.shape[1]
        return (1,) if classes == 2 and not self.multilabel else tuple(range(classes))


def build_sample(
    probabilities: npt.ArrayLike,
    targets: npt.NDArray[np.generic],
    classes: int,
    *,
    multilabel: bool,
    said: npt.NDArray[np.bool_] | None = None,
) -> ClassificationSample:
    """Check predictions and truth against each other and bring them to one form.

    Args:
        probabilities: Images x classes, 0..1.
        targets: Class index per image, or images x classes of 0 and 1 when `multilabel`.
        classes: Number of classes.
        multilabel: Whether an image may have several classes.
        said: Images x classes, what the model says; left out: the likeliest class, or every one from 0.5 on.

    Raises:
        EvaluationError: No image, wrong shape, not finite, out of range, or unknown class index.
    """
    scores = np.asarray(probabilities, dtype=np.float64)
    images = len(targets)
    require_images(images)
    if scores.shape != (images, classes):
        raise EvaluationError(
            "Predictions and truth do not fit.",
            found=f"probabilities of shape {scores.shape}",
            allowed=f"{images} images x {classes} classes",
        )
    if not np.isfinite(scores).all() or scores.min() < 0 or scores.max() > 1 + 1e-6:
        raise EvaluationError(
            "Probabilities are not all between 0 and 1.",
            found=f"{int((~np.isfinite(scores)).sum())} values that are not finite",
            hint="The model's outputs are broken; look at the training losses.",
        )
    truth = _multi_hot(targets, images, classes, multilabel)
    if said is not None:
        return ClassificationSample(scores, truth, said, multilabel)
    predicted = scores >= MULTILABEL_THRESHOLD if multilabel else _one_hot(scores.argmax(axis=1), classes)
    return ClassificationSample(scores, truth, predicted, multilabel)


def _multi_hot(
    targets: npt.NDArray[np.generic], images: int, classes: int, multilabel: bool
) -> npt.NDArray[np.bool_]:
    expected = (images, classes) if multilabel else (images,)
    if targets.shape != expected:
        raise EvaluationError(
            "The truth has the wrong shape.", found=f"{targets.shape}", allowed=f"{expected}"
        )
    if multilabel:
        return targets.astype(bool)
    indices = targets.astype(np.int64)
    if indices.min() < 0 or indices.max() >= classes:
        raise EvaluationError(
            "The truth names a class that does not exist.",
            found=f"index {int(indices.min()) if indices.min() < 0 else int(indices.max())}",
            allowed=f"0 to {classes - 1}",
        )
    return _one_hot(indices, classes)


def _one_hot(indices: npt.NDArray[np.int64], classes: int) -> npt.NDArray[np.bool_]:
    hot = np.zeros((indices.size, classes), dtype=bool)
    hot[np.arange(indices.size), indices] = True
    return hot


@dataclass(frozen=True)
class ClassCounts:
    """Images per class, resamples x classes."""

    support: FloatArray
    predicted: FloatArray
    hits: FloatArray

    @property
    def recall(self) -> FloatArray:
        """Share of a class's images that were found; `nan` without images."""
        return ratio(self.hits, self.support)

    @property
    def precision(self) -> FloatArray:
        """Share of the images called a class that are of it; `nan` where none was."""
        return ratio(self.hits, self.predicted)

    @property
    def f1(self) -> FloatArray:
        """Harmonic mean of both; `nan` for a class that is neither there nor predicted."""
        return ratio(2 * self.hits, self.support + self.predicted)


def build_class_counter(sample: ClassificationSample) -> Callable[[FloatArray], ClassCounts]:
    """Function from multiplicities to counts per class."""
    from scipy import sparse  # a plan can do without it

    truth, predicted, hits = (
        sparse.csr_array(hot.T.astype(np.float64))
        for hot in (sample.truth, sample.predicted, sample.truth & sample.predicted)
    )

    def count(weights: FloatArray) -> ClassCounts:
        columns = weights.T
        return ClassCounts((truth @ columns).T, (predicted @ columns).T, (hits @ columns).T)

    return count


def right_share(sample: ClassificationSample) -> FloatArray:
    """Per image 1 or 0 for a right or wrong class; multilabel: its share of right labels."""
    if sample.multilabel:
        return np.asarray((sample.truth == sample.predicted).mean(axis=1), dtype=np.float64)
    return np.asarray((sample.truth & sample.predicted).sum(axis=1), dtype=np.float64)


def confidence_and_correct(sample: ClassificationSample) -> tuple[FloatArray, FloatArray]:
    """Decisions that calibration judges, images x decisions.

    One per image (its top class), or one per image and label when several labels may hold.
    """
    if sample.multilabel:
        return sample.probabilities, sample.truth.astype(np.float64)
    top = sample.probabilities.argmax(axis=1)[:, None]
    return np.take_along_axis(sample.probabilities, top, axis=1), right_share(sample)[:, None]


def build_statistic(sample: ClassificationSample, names: Sequence[str], specificity: float) -> Statistic:
    """One function that computes all named metrics, so that they share each resample's work.

    - accuracy: share of right images; multilabel: share of right (image, label) decisions.
    - balanced_accuracy: mean recall over the classes that have images.
    - macro_f1: mean F1 over the classes that are there or predicted.
    - auroc, average_precision, sensitivity_at_specificity: mean over classes, one against the rest.
    - ece: see `calibration.calibration_statistic`.

    Args:
        sample: Predictions and truth.
        names: Metric names, as in `transferflow.spec.sections.metrics`.
        specificity: Fixed specificity of `sensitivity_at_specificity`, 0..1.

    Returns:
        Multiplicities (resamples x images) to values (resamples x metrics).

    Raises:
        EvaluationError: A name is unknown.
    """
    require_known(names, _KNOWN, "classification")
    count = build_class_counter(sample)
    right = right_share(sample)
    ece = calibration_statistic(*confidence_and_correct(sample))
    rank_names = [name for name in names if name in RANK_METRICS]
    rankings = [
        build_ranking(sample.probabilities[:, c], sample.truth[:, c], merge=True)
        for c in (sample.ranked_classes if rank_names else ())
    ]

    def statistic(weights: FloatArray) -> FloatArray:
        values: dict[str, FloatArray] = dict(_rank_values(rankings, rank_names, weights, specificity))
        values["accuracy"] = ratio(weights @ right, weights.sum(axis=1))
        values["ece"] = ece(weights)
        counts = count(weights)
        values["balanced_accuracy"] = nan_mean(counts.recall)
        values["macro_f1"] = nan_mean(counts.f1)
        return np.stack([values[name] for name in names], axis=1)

    return statistic


def rank_metric(name: str, counts: CumulativeCounts, specificity: float) -> FloatArray:
    """One ranking metric of one class, per resample."""
    if name == "auroc":
        return auroc(counts)
    if name == "average_precision":
        return average_precision(counts)
    return sensitivity_at_specificity(counts, specificity)


def _rank_values(
    rankings: Sequence[Ranking], names: Sequence[str], weights: FloatArray, specificity: float
) -> Mapping[str, FloatArray]:
    if not names:
        return {}
    columns = np.ascontiguousarray(weights.T)
    per_class: dict[str, list[FloatArray]] = {name: [] for name in names}
    for ranking in rankings:
        counts = cumulative_counts(ranking, columns)
        for name in names:
            per_class[name].append(rank_metric(name, counts, specificity))
    return {name: nan_mean(np.stack(values, axis=-1)) for name, values in per_class.items()}
