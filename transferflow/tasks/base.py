"""What a vision task must bring; one module per task does."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pyarrow as pa
from torch import Tensor, nn

from transferflow.data.loading.batch import Batch
from transferflow.data.records import DatasetSnapshot, SplitName
from transferflow.evaluation.bootstrap import Statistic
from transferflow.evaluation.pictures import Choice, Picture
from transferflow.evaluation.results import Evaluation
from transferflow.models.layers import LayerGroup, Preprocessing
from transferflow.spec import ExperimentSpec

if TYPE_CHECKING:
    from transferflow.data.transforms.evaluation import EvalTransform


@dataclass(frozen=True)
class ModelParts:
    """A whole model and what it declares."""

    model: nn.Module
    groups: tuple[LayerGroup, ...]
    preprocessing: Preprocessing


@dataclass(frozen=True)
class PredictionInputs:
    """Images to predict on, and what it takes to express the answer in their own pixels.

    Attributes:
        batches: Images through the eval transform.
        sizes: Width and height of each original image in pixels, by record id.
        transform: The eval transform that the batches went through; knows its inverse.
        classes: Class names in order.
        folder: Where large arrays (masks) go.
    """

    batches: Iterable[Batch]
    sizes: Mapping[str, tuple[int, int]]
    transform: EvalTransform
    classes: tuple[str, ...]
    folder: Path


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

    def predict(self, spec: ExperimentSpec, model: nn.Module, inputs: PredictionInputs) -> pa.Table:
        """Predict on the model's device; the model is in eval mode.

        Returns:
            A row per image (classification: `id`, `logits`, `probabilities`, in class order;
            segmentation: `id`, `mask`, a PNG of class indices below `inputs.folder`) or per object
            (detection: `id`, `label`, `score`, `x_min`, `y_min`, `x_max`, `y_max`), in pixels of the
            original image.
        """
        ...

    def evaluate(
        self,
        spec: ExperimentSpec,
        predictions: pa.Table,
        snapshot: DatasetSnapshot,
        split: SplitName,
        *,
        folder: Path,
        intervals: bool,
    ) -> Evaluation:
        """Measure the predictions (whose masks lie in `folder`) against the snapshot's truth."""
        ...

    def build_statistic(
        self,
        spec: ExperimentSpec,
        predictions: pa.Table,
        snapshot: DatasetSnapshot,
        split: SplitName,
        *,
        folder: Path,
        metric: str,
    ) -> Statistic:
        """The metric as a function of how often each image is drawn (resamples x images -> resamples).

        Images come in the manifest's order, so that two models' statistics can be resampled together.
        """
        ...

    def show_cases(
        self,
        spec: ExperimentSpec,
        predictions: pa.Table,
        snapshot: DatasetSnapshot,
        split: SplitName,
        *,
        folder: Path,
        choice: Choice,
        limit: int,
        min_score: float | None = None,
    ) -> Sequence[Picture]:
        """Predictions beside the truth, at most `limit` of them; boxes from the score `min_score` on."""
        ...
