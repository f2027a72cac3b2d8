"""Rules between the task, the loop, the metrics and the gate."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import assert_never

from transferflow.spec.deciding import deployed_devices, is_random, trains_nothing
from transferflow.spec.habits.values import known_metric
from transferflow.spec.sections.base import Found
from transferflow.spec.sections.data import KeptShape
from transferflow.spec.sections.evaluation import BaselineName
from transferflow.spec.sections.head import LinearHead, ZeroShotHead
from transferflow.spec.sections.task import TASKS, Setting
from transferflow.spec.sections.training import ActivationViews
from transferflow.spec.sections.truth import BoxTruth, LabelTruth
from transferflow.spec.sections.whole import Sections
from transferflow.spec.wording import did_you_mean

_TASK_SETTINGS: tuple[tuple[str, str, Setting], ...] = (
    ("training", "class_weights", "class_weights"),
    ("training", "label_smoothing", "label_smoothing"),
    ("evaluation", "specificity", "specificity"),
    ("evaluation", "calibrate", "calibrate"),
    ("evaluation", "thresholds", "decision"),
    ("evaluation", "conformal", "decision"),
    ("evaluation", "mask_size", "mask_size"),
    ("augmentation", "mixup", "mixing"),
    ("augmentation", "cutmix", "mixing"),
)
"""Section and key of each setting that not every task has."""


def _metrics_belong_to_the_task(spec: Sections) -> Iterator[Found]:
    known = spec.task.metrics.names
    asked: list[tuple[tuple[str, ...], str | None]] = [
        (("evaluation", "metrics", str(i)), name) for i, name in enumerate(spec.evaluation.metrics or ())
    ]
    asked += _deciding_metrics(spec)
    for path, name in asked:
        if name is not None and name not in known:
            message = f"{spec.task.kind} has no metric {name!r}; it has: {', '.join(known)}"
            hint = _metric_hint(name, known)
            yield path, f"{message}; {hint}" if hint else message


def _metric_hint(name: str, known: Sequence[str]) -> str:
    meant = known_metric(name, known)
    if meant:
        return f"write `{meant}`"
    if "loss" in name.lower():
        return "the loss is drawn and chooses nothing: a metric does, by default the gate's"
    if name.lower() in ("precision", "recall"):
        return "the report has each class's precision and recall"
    return did_you_mean(name, known)


def _deciding_metrics_are_measured(spec: Sections) -> Iterator[Found]:
    names = spec.task.metrics
    measured = spec.evaluation.metrics or names.names
    if not set(measured) <= set(names.names):
        return  # said already; which are left out shows once the names are right
    for path, name in _deciding_metrics(spec):
        if name is not None and name in names.names and name not in measured:
            yield path, f"{name} is not measured: add it to evaluation.metrics"
    if spec.registration.gate.metric is None and names.main not in measured:
        message = (
            f"leaves out {names.main}, by which the gate decides: add it, or set registration.gate.metric"
        )
        yield ("evaluation", "metrics"), message


def _deciding_metrics(spec: Sections) -> list[tuple[tuple[str, ...], str | None]]:
    deciding: list[tuple[tuple[str, ...], str | None]] = [
        (("registration", "gate", "metric"), spec.registration.gate.metric)
    ]
    if spec.training.early_stopping:
        deciding.append((("training", "early_stopping", "metric"), spec.training.early_stopping.metric))
    return deciding


def _warmup_ends_before_training(spec: Sections) -> Iterator[Found]:
    if spec.schedule.warmup_epochs >= spec.training.epochs > 0:
        message = f"the warm-up takes all {spec.training.epochs} epochs of training"
        yield ("schedule", "warmup_epochs"), message


def _new_images_of_a_class_need_classes(spec: Sections) -> Iterator[Found]:
    refresh = spec.deployment.refresh
    if refresh is None or refresh.min_new_per_class is None:
        return
    if not isinstance(spec.task.truth, LabelTruth | BoxTruth):
        message = f"images of {spec.task.kind} belong to no class: use min_changed"
        yield ("deployment", "refresh", "min_new_per_class"), message


def _gpus_are_the_devices(spec: Sections) -> Iterator[Found]:
    devices, gpus = spec.training.devices, spec.deployment.gpus
    if devices is not None and gpus and devices != gpus:
        message = f"{gpus} for training.devices {devices}: set one of them, a deployed run trains on its GPUs"
        yield ("deployment", "gpus"), message


def _batches_are_for_all_devices(spec: Sections) -> Iterator[Found]:
    devices, where = deployed_devices(spec), ("training", "batch_size")
    if spec.training.batch_size < devices:
        yield where, f"{spec.training.batch_size} images are too few for {devices} devices: one for each"


def _settings_belong_to_the_task(spec: Sections) -> Iterator[Found]:
    for section, name, setting in _TASK_SETTINGS:
        part = getattr(spec, section)
        is_set = getattr(part, name) != type(part).model_fields[name].default
        if is_set and setting not in spec.task.traits.settings:
            tasks = " and ".join(kind for kind, traits in TASKS.items() if setting in traits.settings)
            yield (section, name), f"{name} is for {tasks}, not {spec.task.kind}"


def _views_are_not_mixed(spec: Sections) -> Iterator[Found]:
    mixing = [name for name in ("mixup", "cutmix") if getattr(spec.augmentation, name) > 0]
    if isinstance(spec.training.activation_cache, ActivationViews) and mixing:
        message = f"{mixing[0]} mixes images anew in each batch: no views of them can be kept; leave one out"
        yield ("training", "activation_cache"), message


def _views_are_of_one_size(spec: Sections) -> Iterator[Found]:
    if isinstance(spec.training.activation_cache, ActivationViews) and isinstance(spec.data.fit, KeptShape):
        message = "images that keep their shape have activations of any size: no views of them can be kept"
        yield ("training", "activation_cache"), message


def _what_is_calibrated_has_a_trained_head(spec: Sections) -> Iterator[Found]:
    if spec.evaluation.calibrate and isinstance(spec.head, ZeroShotHead):
        yield ("evaluation", "calibrate"), "is for a head that is trained, not zero_shot"


def _baselines_suit_the_spec(spec: Sections) -> Iterator[Found]:
    for number, name in enumerate(spec.evaluation.baselines or ()):
        if problem := _unfit_baseline(spec, name):
            yield ("evaluation", "baselines", str(number)), f"{name} {problem}"


def _unfit_baseline(spec: Sections, name: BaselineName) -> str:
    """Why a baseline can't be measured; empty where it can."""
    match name:
        case "from_scratch":
            if trains_nothing(spec):
                return "is a training from random weights, and this spec trains nothing"
            return "is what this spec trains: backbone.weights is none" if is_random(spec.backbone) else ""
        case "majority" | "knn" | "linear_probe":
            if "probes" not in spec.task.traits.settings:
                tasks = " and ".join(kind for kind, traits in TASKS.items() if "probes" in traits.settings)
                return f"is for {tasks}, not {spec.task.kind}: here, from_scratch and champion are to be had"
            if spec.data.split.leaves_all_for_test:
                return "is of the training images, and data.split leaves none"
            needs_features = name != "majority" and not isinstance(spec.head, LinearHead)
            return "needs a head of kind linear" if needs_features else ""
        case "champion":
            return ""
        case _:
            assert_never(name)


def _what_is_only_measured_teaches_nothing(spec: Sections) -> Iterator[Found]:
    """Without images to train and validate on, whatever learns or is chosen from them is refused."""
    if not spec.data.split.leaves_all_for_test:
        return
    if not trains_nothing(spec):
        yield ("data", "split"), "leaves no image to train on: it goes with training.epochs 0"
    elif isinstance(spec.head, LinearHead) and spec.head.starts_with_classes:
        yield ("data", "split"), f"leaves no image to train on, which head.init {spec.head.init} begins with"
    for name in ("calibrate", "thresholds", "conformal"):
        if getattr(spec.evaluation, name):
            yield ("evaluation", name), "is chosen on validation images, and data.split leaves none"


def _several_labels_have_no_set(spec: Sections) -> Iterator[Found]:
    truth = spec.task.truth
    if spec.evaluation.conformal is not None and isinstance(truth, LabelTruth) and truth.several:
        message = "is a set that holds the one right class: with several labels use evaluation.thresholds"
        yield ("evaluation", "conformal"), message


TRAINING_RULES = (
    _what_is_only_measured_teaches_nothing,
    _several_labels_have_no_set,
    _baselines_suit_the_spec,
    _what_is_calibrated_has_a_trained_head,
    _metrics_belong_to_the_task,
    _deciding_metrics_are_measured,
    _warmup_ends_before_training,
    _settings_belong_to_the_task,
    _new_images_of_a_class_need_classes,
    _gpus_are_the_devices,
    _batches_are_for_all_devices,
    _views_are_not_mixed,
    _views_are_of_one_size,
)
