"""Rules between the task, the loop, the metrics and the gate."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from transferflow.spec.habits.values import known_metric
from transferflow.spec.sections.base import Found
from transferflow.spec.sections.evaluation import Evaluation
from transferflow.spec.sections.metrics import metric_names
from transferflow.spec.sections.task import ClassificationTask, DetectionTask
from transferflow.spec.sections.whole import Sections
from transferflow.spec.wording import did_you_mean


def _metrics_belong_to_the_task(spec: Sections) -> Iterator[Found]:
    known = metric_names(spec.task).names
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
    names = metric_names(spec.task)
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
    if spec.schedule.warmup_epochs >= spec.training.epochs:
        message = f"the warm-up takes all {spec.training.epochs} epochs of training"
        yield ("schedule", "warmup_epochs"), message


def _loss_settings_belong_to_the_task(spec: Sections) -> Iterator[Found]:
    if spec.training.class_weights is not None and isinstance(spec.task, DetectionTask):
        yield ("training", "class_weights"), "class weights are for classification and segmentation"
    if spec.training.label_smoothing > 0 and not isinstance(spec.task, ClassificationTask):
        yield ("training", "label_smoothing"), f"label smoothing is for classification, not {spec.task.kind}"
    has_specificity = spec.evaluation.specificity != Evaluation().specificity
    if has_specificity and not isinstance(spec.task, ClassificationTask):
        yield ("evaluation", "specificity"), f"specificity is for classification, not {spec.task.kind}"


def _mixing_is_for_classification(spec: Sections) -> Iterator[Found]:
    for name in ("mixup", "cutmix"):
        if getattr(spec.augmentation, name) > 0 and not isinstance(spec.task, ClassificationTask):
            yield ("augmentation", name), f"{name} is for classification, not {spec.task.kind}"


TRAINING_RULES = (
    _metrics_belong_to_the_task,
    _deciding_metrics_are_measured,
    _warmup_ends_before_training,
    _loss_settings_belong_to_the_task,
    _mixing_is_for_classification,
)
