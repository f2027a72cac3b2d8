"""Images of a split through a transform: what is trained on, validated on, and measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from torch import nn

from transferflow.data.files.geometry import kept_size
from transferflow.data.loading.cache import CacheFolder
from transferflow.data.loading.loader import Loader, build_loader
from transferflow.data.loading.shares import WHOLE, Share
from transferflow.data.records import DatasetSnapshot, SplitName
from transferflow.data.transforms.evaluation import EvalTransform, build_eval_transform
from transferflow.data.transforms.training import TrainTransform
from transferflow.models.layers import Preprocessing
from transferflow.spec import ExperimentSpec
from transferflow.spec.deciding import decide_mask_shape
from transferflow.spec.sections.data import KeptShape
from transferflow.spec.sections.guide import decide_fit
from transferflow.tasks.base import PredictionInputs, SplitPredictions, TrainingSide
from transferflow.training.device import pick_device


def eval_transform_of(spec: ExperimentSpec, preprocessing: Preprocessing) -> EvalTransform:
    """The one eval transform: the spec's wishes over what the weights were trained with."""
    return build_eval_transform(
        spec.data,
        decide_fit(spec.data, spec.task),
        mean=preprocessing.mean,
        std=preprocessing.std,
        interpolation=preprocessing.interpolation,
        image_size=preprocessing.image_size,
        crop_fraction=preprocessing.crop_fraction,
        normalization=spec.backbone.normalization,
    )


def split_loader(
    spec: ExperimentSpec,
    snapshot: DatasetSnapshot,
    split: SplitName,
    transform: EvalTransform | TrainTransform,
    cache: Path,
    share: Share = WHOLE,
) -> Loader:
    """Images of a split: drawn in a new order each epoch for training, else in manifest order.

    They come normalised, on the device that the spec trains on.

    Args:
        spec: Says how they are loaded.
        snapshot: The data set.
        split: Which images.
        transform: What the model sees of them; a training transform is for training.
        cache: Folder of the decoded images; used unless the spec wants none.
        share: Which part of each batch is this process's.
    """
    is_training = isinstance(transform, TrainTransform)
    return build_loader(
        snapshot,
        split,
        transform=transform,
        batch_size=spec.training.batch_size,
        seed=spec.training.seed,
        workers=spec.training.workers,
        truth=spec.task.truth,
        train=is_training,
        cache=CacheFolder(cache, spec.data.cache.max_gb) if spec.data.cache else None,
        share=share,
        device=pick_device(spec.training.device),
        epochs=spec.training.epochs if is_training else 0,
    )


@dataclass(frozen=True)
class SplitImages:
    """A split through the eval transform, to be predicted as often as needed.

    Attributes:
        snapshot: The data set.
        split: Which images.
        transform: The eval transform.
        loader: The images through it, in manifest order.
        mask_shape: How the size in which masks are compared follows from that of an image.
    """

    snapshot: DatasetSnapshot
    split: SplitName
    transform: EvalTransform
    loader: Loader
    mask_shape: KeptShape

    def inputs(
        self, classes: tuple[str, ...], folder: Path, batches: tuple[int, int] | None = None
    ) -> PredictionInputs:
        """What a task needs to predict the split.

        Args:
            classes: Class names in the order of the model's answers.
            folder: Where large arrays (masks) go.
            batches: First and end of the batches to predict; left out: all of them.
        """
        sizes, masks = self._sizes
        first, end = batches or (0, None)
        return PredictionInputs(
            self.loader.epoch(0, first, end), sizes, self.transform, classes, folder, mask_sizes=masks
        )

    @cached_property
    def _sizes(self) -> tuple[Mapping[str, tuple[int, int]], Mapping[str, tuple[int, int]]]:
        """Width and height of each image, and of its mask, by record id; for all epochs."""
        rows, shape = self.loader.dataset.rows, self.mask_shape
        sizes = {
            image: (width, height)
            for image, (height, width) in zip(rows.column("id"), rows.sizes(), strict=True)
        }
        masks = {
            image: kept_size((height, width), shape.shorter, shape.longer)[::-1]
            for image, (width, height) in sizes.items()
        }
        return sizes, masks

    def predict(
        self, task: TrainingSide, model: nn.Module, classes: tuple[str, ...], folder: Path
    ) -> SplitPredictions:
        """Predict the split; the model is in eval mode."""
        table = task.predict(model, self.inputs(classes, folder))
        return SplitPredictions(table, self.snapshot, self.split, folder)


def build_split_images(
    spec: ExperimentSpec, snapshot: DatasetSnapshot, split: SplitName, transform: EvalTransform, cache: Path
) -> SplitImages:
    """Bind a split to the eval transform; see `split_loader`."""
    loader = split_loader(spec, snapshot, split, transform, cache)
    return SplitImages(snapshot, split, transform, loader, decide_mask_shape(spec))
