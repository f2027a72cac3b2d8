"""What a vision task must bring; one module per task does.

A task is asked by four sides, and each sees the protocol that it needs: training, measuring, the report, and
`predict`. It is built from the sections of the spec that it reads (`tasks.build`): no method asks for a spec.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow as pa
from torch import nn

from transferflow.data.loading.batch import Batch
from transferflow.data.records import DatasetSnapshot, SplitName
from transferflow.data.snapshot.manifest import read_groups, read_rows
from transferflow.data.snapshot.rows import Row
from transferflow.evaluation.figures import ReportTraits
from transferflow.evaluation.pictures import Choice, ImageArray, Picture
from transferflow.evaluation.results import Evaluation
from transferflow.evaluation.statistics.bootstrap import Statistic
from transferflow.models.layers import LayerGroup, Preprocessing
from transferflow.spec.sections.backbone import Backbone
from transferflow.spec.sections.data import Data
from transferflow.tasks.answers import Prediction
from transferflow.tasks.graphs import Graph
from transferflow.tasks.losses import Losses
from transferflow.tasks.tiling import TilePredictions
from transferflow.training.device import image_layout

if TYPE_CHECKING:
    from transferflow.data.transforms.evaluation import EvalTransform

MIN_SCORE, TEMPERATURE = "min_score", "temperature"
"""What an epoch settles besides its metrics, for whoever keeps its weights: see `EpochMeasure`."""
ShowRow = Callable[[Row], ImageArray]
"""An image of a snapshot as a person wants to see it."""
OutputRow = dict[str, Any]
"""One answer as `predict` prints it: plain JSON data, with the image's path as `image`."""


@dataclass(frozen=True)
class ModelParts:
    """A whole model and what it declares."""

    model: nn.Module
    groups: tuple[LayerGroup, ...]
    preprocessing: Preprocessing


def ask_model(model: nn.Module, batch: Batch) -> Any:  # noqa: ANN401 - as the model nests its outputs
    """What a model makes of a batch's images, on its device and in float32."""
    device = next(model.parameters()).device
    return model(batch.to(device, image_layout(device)).shown)


@dataclass(frozen=True)
class PredictionInputs:
    """Images to predict on, and what it takes to express the answer in their own pixels.

    Attributes:
        batches: Images through the eval transform.
        sizes: Width and height of each original image in pixels, by record id.
        transform: The eval transform that the batches went through; knows its inverse.
        classes: Class names in order.
        folder: Where large arrays (masks) go.
        ask: Gives a model's outputs for a batch.
        mask_sizes: Width and height that masks are asked for in, by record id; left out: those of `sizes`.
    """

    batches: Iterable[Batch]
    sizes: Mapping[str, tuple[int, int]]
    transform: EvalTransform
    classes: tuple[str, ...]
    folder: Path
    ask: Callable[[nn.Module, Batch], Any] = ask_model
    mask_sizes: Mapping[str, tuple[int, int]] | None = None

    def mask_size(self, image: str) -> tuple[int, int]:
        """Width and height in which an image's mask is asked for."""
        return (self.sizes if self.mask_sizes is None else self.mask_sizes)[image]


@dataclass(frozen=True)
class SplitPredictions:
    """Predictions on a split, and where its truth is.

    Attributes:
        table: As the task's `predict` returns it.
        snapshot: The truth.
        split: Which images.
        folder: Where large arrays (masks) lie.
        only: Ids of the images of the split that count; `None`: all of them.
    """

    table: pa.Table
    snapshot: DatasetSnapshot
    split: SplitName
    folder: Path
    only: frozenset[str] | None = None

    def read_rows(self) -> Sequence[Row]:
        """The images, with their truth, in the manifest's order."""
        rows = read_rows(self.snapshot, self.split)
        return rows if self.only is None else [row for row in rows if row.id in self.only]

    @property
    def groups(self) -> list[str | None]:
        """Patient, scene or the like of each image, where it has one, in the manifest's order."""
        groups = read_groups(self.snapshot, self.split)
        return [group for image, group in groups.items() if self.only is None or image in self.only]

    def restrict_to(self, images: Iterable[str]) -> SplitPredictions:
        """Those on some of the images alone."""
        only = frozenset(images)
        counts = pa.array([image in only for image in self.table["id"].to_pylist()], pa.bool_())
        return replace(self, table=self.table.filter(counts), only=only)


@dataclass(frozen=True)
class ImagePredictions:
    """Predictions on images without a truth.

    Attributes:
        table: As the task's `predict` returns it; `id` is the image's path.
        sizes: Width and height of every image that was looked at, by path.
        classes: Class names in order.
        folder: Where large arrays (masks) lie.
    """

    table: pa.Table
    sizes: Mapping[str, tuple[int, int]]
    classes: tuple[str, ...]
    folder: Path


@dataclass(frozen=True)
class EpochMeasure:
    """Measures a model on the validation images after each epoch; what is true was read before the first.

    Attributes:
        count: What the answers for some images come to; the tables of all images are joined.
        measure: Metrics by name, as `evaluate` has them; with the least score of a box that counts
            (`MIN_SCORE`, 0..1) and the temperature (`TEMPERATURE`), where there are such.
    """

    count: Callable[[nn.Module, PredictionInputs], pa.Table]
    measure: Callable[[pa.Table], Mapping[str, float]]


class TrainingSide(Protocol):
    """What it takes to train: model, losses, predictions."""

    def build_model(
        self,
        backbone: Backbone,
        data: Data,
        classes: Sequence[str],
        *,
        seed: int,
        pretrained: bool,
        device: str = "cpu",
    ) -> ModelParts:
        """Build the model; `pretrained=False` with `device="meta"` gives shapes alone, in no time."""
        ...

    def apply_units(self, model: nn.Module, snapshot: DatasetSnapshot) -> None:
        """Set the unit of the model's outputs from the training images; nothing for classes."""
        ...

    def build_losses(self, snapshot: DatasetSnapshot) -> Losses:
        """Losses for the classes of this snapshot, which may be weighted by how often it has them."""
        ...

    def predict(self, model: nn.Module, inputs: PredictionInputs) -> pa.Table:
        """Predict on the model's device; the model is in eval mode.

        Returns:
            A row per image (classification: `id`, `logits`, `probabilities`, in class order;
            segmentation: `id`, `mask`, a PNG of class indices below `inputs.folder`;
            regression: `id`, `value`) or per object (detection: `id`, `label`, `score`, `x_min`, `y_min`,
            `x_max`, `y_max`), in pixels of the original image.
        """
        ...

    def build_measure(self, snapshot: DatasetSnapshot, rows: Sequence[Row], watched: str) -> EpochMeasure:
        """What measures these images after each epoch; a metric that takes long only if it is watched."""
        ...


class MeasuringSide(Protocol):
    """What it takes to measure predictions, and to compare two models."""

    def evaluate(self, predictions: SplitPredictions, *, resamples: int, seed: int) -> Evaluation:
        """Measure predictions against the truth; without resamples there are no intervals."""
        ...

    def build_statistic(self, predictions: SplitPredictions, metric: str) -> Statistic:
        """The metric as a function of how often each image is drawn (resamples x images -> resamples).

        Images come in the manifest's order, so that two models' statistics can be resampled together.
        """
        ...

    def align_classes(
        self, old: tuple[str, ...], new: tuple[str, ...]
    ) -> Callable[[pa.Table], pa.Table] | None:
        """What leads predictions over other classes to these; `None` where nothing can."""
        ...


class ReportSide(Protocol):
    """What a report shows of the task."""

    @property
    def traits(self) -> ReportTraits:
        """What it says of this task and not of another."""
        ...

    def show_cases(
        self,
        predictions: SplitPredictions,
        show: ShowRow,
        *,
        choice: Choice,
        limit: int,
        min_score: float | None = None,
    ) -> Sequence[Picture]:
        """Predictions beside the truth, at most `limit` of them; objects from the score `min_score` on."""
        ...

    def answered_classes(self, table: pa.Table) -> Mapping[str, int] | None:
        """The class that was answered for each image, by id, for a heat map of what spoke for it.

        `None` where the answer is no class of the image as a whole.
        """
        ...


class PlacedOutput(Protocol):
    """What `predict` does with answers that lie somewhere in the image: boxes, masks."""

    def annotations(self, found: ImagePredictions) -> Iterator[dict[str, Any]]:
        """COCO annotations, without ids of their own; categories count from 1, images as in `sizes`."""
        ...

    def draw(self, image: ImageArray, rows: Sequence[OutputRow], classes: Sequence[str]) -> ImageArray:
        """The image with its rows drawn over it, and a legend where one is needed."""
        ...

    def merge_tiles(self, found: TilePredictions, image: str, folder: Path) -> pa.Table:
        """One answer for the image from those of its tiles; large arrays go to `folder`."""
        ...


class TaskOutput(Protocol):
    """What `predict` prints."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Keys that every row has."""
        ...

    @property
    def placed(self) -> PlacedOutput | None:
        """For answers that lie somewhere in the image; `None` where they are about the image as a whole."""
        ...

    def answers(self, found: ImagePredictions) -> list[Prediction]:
        """One typed answer per image, in the order of `sizes`; one without objects has an empty answer."""
        ...

    def rows(self, found: ImagePredictions) -> list[OutputRow]:
        """One row per image, or per object; an image without one has a row whose other values are `None`."""
        ...

    def cells(self, row: OutputRow, top: int) -> tuple[str, str, str]:
        """A row for a person: what was found, its score, and more, of which `top` entries are shown."""
        ...

    def note(self, min_score: float) -> str:
        """What to know about the rows; may be empty."""
        ...


class VisionTask(TrainingSide, MeasuringSide, ReportSide, Protocol):
    """Binds model, loss, prediction and metrics of one task, and how they are shown."""

    def build_graph(self, model: nn.Module) -> Graph:
        """The model as a plain function of tensors, for other runtimes."""
        ...

    @property
    def output(self) -> TaskOutput:
        """What `predict` prints, writes and draws."""
        ...
