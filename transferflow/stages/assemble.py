"""From a spec and a snapshot to a train job: the one place where sections become loop settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import nn

from transferflow.data.augmentation import build_train_transform
from transferflow.data.cache import CacheFolder
from transferflow.data.loader import Loader, build_loader
from transferflow.data.manifest import read_rows
from transferflow.data.records import DatasetSnapshot, SplitName
from transferflow.data.transforms import EvalTransform, build_eval_transform
from transferflow.models.classifier import ImageClassifier
from transferflow.models.layers import Preprocessing
from transferflow.spec import ExperimentSpec
from transferflow.spec.metrics import metric_names
from transferflow.spec.optimizer import AdamW, Sgd
from transferflow.stages.layers import TrainingPlan
from transferflow.tasks.base import ModelParts, PredictionInputs, VisionTask
from transferflow.training.features import cache_features, decide_feature_cache
from transferflow.training.job import Hook, LoopSettings, OptimizerSettings, TrainJob


def eval_transform_of(spec: ExperimentSpec, preprocessing: Preprocessing) -> EvalTransform:
    """The one eval transform: the spec's wishes over what the weights were trained with."""
    return build_eval_transform(
        spec.data,
        spec.task.kind,
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
        task=spec.task,
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


def compile_job(
    spec: ExperimentSpec,
    snapshot: DatasetSnapshot,
    task: VisionTask,
    parts: ModelParts,
    plan: TrainingPlan,
    *,
    folder: Path,
    cache: Path,
    hooks: Sequence[Hook],
) -> TrainJob:
    """Bind model, loaders, loss, rates and freeze schedule into a job."""
    transform = eval_transform_of(spec, parts.preprocessing)
    train_transform = build_train_transform(spec.augmentation, transform, spec.task.kind)
    train_loader = build_loader(
        snapshot,
        "train",
        transform=train_transform,
        batch_size=spec.training.batch_size,
        seed=spec.training.seed,
        workers=spec.training.workers,
        task=spec.task,
        train=True,
        cache=cache_folder(spec, cache),
    )
    validation = eval_loader(spec, snapshot, "val", transform, cache)

    def validate(model: nn.Module) -> Mapping[str, float]:
        masks = folder / "validation"
        inputs = prediction_inputs(validation, snapshot, "val", transform, snapshot.classes, masks)
        predictions = task.predict(spec, model, inputs)
        result = task.evaluate(spec, predictions, snapshot, "val", folder=masks, intervals=False)
        return {name: metric.value for name, metric in result.metrics.items()}

    job = TrainJob(
        model=parts.model,
        groups=parts.groups,
        rates=plan.rates,
        freeze=plan.freeze,
        train_loader=train_loader,
        losses=task.build_losses(spec, snapshot.classes, snapshot),
        validate=validate,
        optimizer=optimizer_settings(spec),
        settings=_loop_settings(spec),
        folder=folder,
        metric_needs=metric_names(spec.task).needs,
        hooks=hooks,
    )
    if isinstance(parts.model, ImageClassifier) and decide_feature_cache(
        parts.groups, plan.freeze, is_random=train_transform.is_random, epochs=spec.training.epochs
    ):
        return cache_features(job, train_loader)
    return job


def watched_metric(spec: ExperimentSpec) -> str:
    """The validation metric that chooses the best epoch."""
    stopping = spec.training.early_stopping
    if stopping and stopping.metric:
        return stopping.metric
    names = metric_names(spec.task)
    asked = spec.evaluation.metrics
    return names.main if asked is None or names.main in asked else asked[0]


def _loop_settings(spec: ExperimentSpec) -> LoopSettings:
    training, metric = spec.training, watched_metric(spec)
    return LoopSettings(
        epochs=training.epochs,
        seed=training.seed,
        precision=training.precision,
        device=training.device,
        metric=metric,
        lower_is_better=metric in metric_names(spec.task).lower_is_better,
        patience=training.early_stopping.patience if training.early_stopping else None,
        ema=training.ema,
        gradient_clip=training.gradient_clip,
    )


def optimizer_settings(spec: ExperimentSpec) -> OptimizerSettings:
    """Optimizer and schedule, flat."""
    schedule = spec.schedule
    minimum = schedule.min_lr_scale if schedule.kind == "cosine" else 1.0
    match spec.optimizer:
        case AdamW(betas=betas):
            return OptimizerSettings(
                "adamw",
                betas=betas,
                schedule=schedule.kind,
                warmup_epochs=schedule.warmup_epochs,
                min_lr_scale=minimum,
            )
        case Sgd(momentum=momentum, nesterov=nesterov):
            return OptimizerSettings(
                "sgd",
                momentum=momentum,
                nesterov=nesterov,
                schedule=schedule.kind,
                warmup_epochs=schedule.warmup_epochs,
                min_lr_scale=minimum,
            )
