"""What a vision task must bring; one module per task does."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pyarrow as pa
from torch import Tensor, nn

from transferflow.data.batch import Batch
from transferflow.data.records import DatasetSnapshot
from transferflow.evaluation.results import Evaluation
from transferflow.models.layers import LayerGroup, Preprocessing
from transferflow.spec import ExperimentSpec


@dataclass(frozen=True)
class ModelParts:
    """A whole model and what it declares."""

    model: nn.Module
    groups: tuple[LayerGroup, ...]
    preprocessing: Preprocessing


class VisionTask(Protocol):
    """Binds model, loss, prediction and metrics of one task."""

    def build_model(
        self, spec: ExperimentSpec, classes: Sequence[str], *, pretrained: bool, device: str = "cpu"
    ) -> ModelParts:
        """Build the model; `pretrained=False` with `device="meta"` gives shapes alone, in no time."""
        ...

    def build_losses(
        self, spec: ExperimentSpec, classes: Sequence[str], snapshot: DatasetSnapshot
    ) -> Callable[[nn.Module, Batch], Mapping[str, Tensor]]:
        """Named losses of a batch; their sum is minimised. The model is in train mode."""
        ...

    def predict(
        self, model: nn.Module, batches: Iterable[Batch], classes: Sequence[str], folder: Path | None = None
    ) -> pa.Table:
        """Predict; a row per image (classification, segmentation) or per object (detection).

        Every table has the column `id`. Large arrays (masks) go to files in `folder`.
        """
        ...

    def evaluate(
        self,
        spec: ExperimentSpec,
        predictions: pa.Table,
        snapshot: DatasetSnapshot,
        split: str,
        *,
        intervals: bool,
    ) -> Evaluation:
        """Measure the predictions against the snapshot's truth."""
        ...
