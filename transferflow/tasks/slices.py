"""Predictions measured slice by slice, as the whole split is."""

from __future__ import annotations

from collections.abc import Sequence

from transferflow.evaluation.results import Slice
from transferflow.evaluation.slices import Slicing
from transferflow.tasks.base import MeasuringSide, SplitPredictions


def measure_slices(
    task: MeasuringSide,
    predictions: SplitPredictions,
    slicings: Sequence[Slicing],
    *,
    resamples: int,
    seed: int,
) -> dict[str, tuple[Slice, ...]]:
    """Measure every slice by itself.

    Args:
        task: What is measured.
        predictions: On the whole split.
        slicings: Which slice each image of it is in.
        resamples: Resamples of a slice's images for its intervals; 0 leaves them out.
        seed: Seed of the resamples.

    Returns:
        The slices that have images, by what they are sliced by.
    """
    ids = [row.id for row in predictions.read_rows()]
    found: dict[str, tuple[Slice, ...]] = {}
    for slicing in slicings:
        slices = []
        for name, numbers in slicing.members():
            if numbers:
                part = predictions.restrict_to(ids[number] for number in numbers)
                metrics = task.evaluate(part, resamples=resamples, seed=seed).metrics
                slices.append(Slice(name, len(numbers), metrics, len(numbers) >= slicing.min_images))
        found[slicing.by] = tuple(slices)
    return found
