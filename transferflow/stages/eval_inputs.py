"""Images of a split through the eval transform: what training validates on and evaluation measures."""

from __future__ import annotations

from pathlib import Path

from transferflow.data.loading.cache import CacheFolder
from transferflow.data.loading.loader import Loader, build_loader
from transferflow.data.records import DatasetSnapshot, SplitName
from transferflow.data.snapshot.manifest import read_rows
from transferflow.data.transforms.evaluation import EvalTransform, build_eval_transform
from transferflow.models.layers import Preprocessing
from transferflow.spec import ExperimentSpec
from transferflow.spec.sections.guide import decide_fit
from transferflow.tasks.base import PredictionInputs


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


def cache_folder(spec: ExperimentSpec, path: Path) -> CacheFolder | None:
    """Where decoded images are kept; `None` when the spec wants none."""
    return CacheFolder(path, spec.data.cache.max_gb) if spec.data.cache else None


def eval_loader(
    spec: ExperimentSpec, snapshot: DatasetSnapshot, split: SplitName, transform: EvalTransform, cache: Path
) -> Loader:
    """Images of a split through the eval transform, in manifest order."""
    return build_loader(
        snapshot,
        split,
        transform=transform,
        batch_size=spec.training.batch_size,
        seed=spec.training.seed,
        workers=spec.training.workers,
        truth=spec.task.truth,
        train=False,
        cache=cache_folder(spec, cache),
    )


def prediction_inputs(
    loader: Loader,
    snapshot: DatasetSnapshot,
    split: SplitName,
    transform: EvalTransform,
    classes: tuple[str, ...],
    folder: Path,
) -> PredictionInputs:
    """What a task needs to predict a split."""
    sizes = {row.id: (row.width, row.height) for row in read_rows(snapshot, split)}
    return PredictionInputs(loader.epoch(0), sizes, transform, classes, folder)
