"""Metrics on the validation images: each is predicted by one device, and rank 0 measures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pyarrow as pa
from torch import nn

from transferflow.data.loading.shares import Share
from transferflow.stages.train.validation_inputs import ValidationInputs
from transferflow.tasks.base import SplitPredictions, VisionTask
from transferflow.training.ranks import Ranks


def build_validation(
    task: VisionTask, validation: ValidationInputs, folder: Path, seed: int, ranks: Ranks
) -> Callable[[nn.Module], Mapping[str, float]]:
    """Build what measures a model in eval mode on its device; all ranks call it and get the same.

    Args:
        task: What is measured.
        validation: The validation images.
        folder: Where large arrays (masks) go, for all ranks.
        seed: Of what measuring draws at random.
        ranks: Those who share the images.
    """

    def validate(model: nn.Module) -> Mapping[str, float]:
        parts = ranks.gather(_predict_share(task, model, validation, folder, ranks))
        if not parts:
            found: dict[str, float] = ranks.share(None)
            return found
        table = pa.concat_tables(pa.ipc.open_stream(data).read_all() for data in parts if data)
        images = validation.images
        predictions = SplitPredictions(table, images.snapshot, images.split, folder)
        result = task.evaluate(predictions, resamples=0, seed=seed)
        return dict(ranks.share({name: metric.value for name, metric in result.metrics.items()}))

    return validate


def _predict_share(
    task: VisionTask, model: nn.Module, validation: ValidationInputs, folder: Path, ranks: Ranks
) -> bytes:
    """Predictions of one rank as an Arrow stream; empty where there are fewer batches than ranks."""
    first, end = Share(ranks.rank, ranks.world).run(len(validation.images.loader))
    if first == end:
        return b""
    table = task.predict(model, validation.inputs(model, folder, (first, end)))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    return bytes(sink.getvalue().to_pybytes())
