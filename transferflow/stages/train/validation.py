"""Metrics and loss on the validation images: each is predicted by one device, and rank 0 measures."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pyarrow as pa
from torch import nn

from transferflow.data.loading.shares import Share
from transferflow.stages.train.answer_loss import AnswerLoss, validation_losses
from transferflow.stages.train.validation_inputs import ValidationInputs
from transferflow.tasks.base import SplitPredictions, VisionTask
from transferflow.tasks.losses import Losses
from transferflow.training.ranks import Ranks


def build_validation(
    task: VisionTask, losses: Losses, validation: ValidationInputs, folder: Path, seed: int, ranks: Ranks
) -> Callable[[nn.Module], Mapping[str, float]]:
    """Build what measures a model in eval mode on its device; all ranks call it and get the same.

    It gives `val_loss` and its parts, where the task can tell them, and then the metrics.

    Args:
        task: What is measured.
        losses: Those that are trained with: the same class weights, the same label smoothing.
        validation: The validation images.
        folder: Where large arrays (masks) go, for all ranks.
        seed: Of what measuring draws at random.
        ranks: Those who share the images.
    """

    def validate(model: nn.Module) -> Mapping[str, float]:
        loss = AnswerLoss(losses)
        parts = ranks.gather(_predict_share(task, model, loss, validation, folder, ranks))
        sums = ranks.gather(json.dumps(loss.sums).encode())
        if not parts:
            found: dict[str, float] = ranks.share(None)
            return found
        table = pa.concat_tables(pa.ipc.open_stream(data).read_all() for data in parts if data)
        images = validation.images
        predictions = SplitPredictions(table, images.snapshot, images.split, folder)
        result = task.evaluate(predictions, resamples=0, seed=seed)
        values = validation_losses(json.loads(data) for data in sums)
        return dict(ranks.share(values | {name: metric.value for name, metric in result.metrics.items()}))

    return validate


def _predict_share(
    task: VisionTask,
    model: nn.Module,
    loss: AnswerLoss,
    validation: ValidationInputs,
    folder: Path,
    ranks: Ranks,
) -> bytes:
    """Predictions of one rank as an Arrow stream; empty where there are fewer batches than ranks."""
    first, end = Share(ranks.rank, ranks.world).run(len(validation.images.loader))
    if first == end:
        return b""
    table = task.predict(model, loss.watch(validation.inputs(model, folder, (first, end))))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    return bytes(sink.getvalue().to_pybytes())
