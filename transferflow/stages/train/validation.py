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
from transferflow.tasks.base import EpochMeasure
from transferflow.tasks.losses import Losses
from transferflow.training.ranks import Ranks


def build_validation(
    measure: EpochMeasure, losses: Losses, validation: ValidationInputs, folder: Path, ranks: Ranks
) -> Callable[[nn.Module], Mapping[str, float]]:
    """Build what measures a model in eval mode on its device; all ranks call it and get the same.

    It gives `val_loss` and its parts, where the task can tell them, and then what is measured.

    Args:
        measure: The task's measure of these images.
        losses: Those that are trained with: the same class weights, the same label smoothing.
        validation: The validation images.
        folder: Where large arrays go, for all ranks.
        ranks: Those who share the images.
    """

    def validate(model: nn.Module) -> Mapping[str, float]:
        loss = AnswerLoss(losses)
        parts = ranks.gather(_count_share(measure, model, loss, validation, folder, ranks))
        sums = ranks.gather(json.dumps(loss.sums).encode())
        if not parts:
            found: dict[str, float] = ranks.share(None)
            return found
        counted = pa.concat_tables(pa.ipc.open_stream(data).read_all() for data in parts if data)
        values = validation_losses(json.loads(data) for data in sums)
        return dict(ranks.share(values | dict(measure.measure(counted))))

    return validate


def _count_share(
    measure: EpochMeasure,
    model: nn.Module,
    loss: AnswerLoss,
    validation: ValidationInputs,
    folder: Path,
    ranks: Ranks,
) -> bytes:
    """What one rank's answers come to, as an Arrow stream; empty where there are fewer batches than ranks."""
    first, end = Share(ranks.rank, ranks.world).run(len(validation.images.loader))
    if first == end:
        return b""
    table = measure.count(model, loss.watch(validation.inputs(model, folder, (first, end))))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    return bytes(sink.getvalue().to_pybytes())
