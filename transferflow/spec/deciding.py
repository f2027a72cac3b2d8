"""What the spec leaves open and other sections decide: the registered name, and which metric decides."""

from __future__ import annotations

from typing import TypeVar, assert_never

from transferflow.spec.sections.backbone import (
    Backbone,
    CheckpointBackbone,
    PackageBackbone,
    TimmBackbone,
    TorchvisionBackbone,
)
from transferflow.spec.sections.data import KeptShape
from transferflow.spec.sections.evaluation import BaselineName, Refresh
from transferflow.spec.sections.head import LinearHead, ZeroShotHead
from transferflow.spec.sections.published import starts_whole
from transferflow.spec.sections.recurrence import is_interval
from transferflow.spec.sections.run_times import CronSchedule, IntervalSchedule
from transferflow.spec.sections.truth import LabelTruth
from transferflow.spec.sections.whole import Sections

_EPOCHS_BESIDE_PROBES = 3
ExperimentSpecT = TypeVar("ExperimentSpecT", bound=Sections)


def is_random(section: Backbone) -> bool:
    """Whether the section asks for a random start."""
    match section:
        case TorchvisionBackbone() | TimmBackbone():
            return section.weights.lower() == "none"
        case CheckpointBackbone() | PackageBackbone():
            return False
        case _:
            assert_never(section)


def decide_baselines(spec: Sections) -> tuple[BaselineName, ...]:
    """The baselines that stand beside the model in the report: the spec's, or those that are cheap.

    Probes take one pass over the images, which is little beside a training of three epochs or more. The
    champion is measured anyway where the gate compares with it.
    """
    if spec.evaluation.baselines is not None:
        return spec.evaluation.baselines
    found: list[BaselineName] = []
    if "probes" in spec.task.traits.settings and not spec.data.split.leaves_all_for_test:
        found.append("majority")
        pays = spec.training.epochs >= _EPOCHS_BESIDE_PROBES and isinstance(spec.head, LinearHead)
        if pays and not is_random(spec.backbone):
            found += ["knn", "linear_probe"]
    gate = spec.registration.gate
    if any([gate.against_champion, *(one.against_champion for one in gate.also)]):
        found.append("champion")
    return tuple(found)


def decide_mask_shape(spec: Sections) -> KeptShape:
    """How the size follows, in which masks are compared, from that of an image; by default it is the same."""
    fit = spec.data.fit
    if spec.evaluation.mask_size == "resized" and isinstance(fit, KeptShape):
        return fit
    return KeptShape()


def registered_model(spec: Sections) -> str:
    """Name of the model in the registry: the spec's own unless it says otherwise."""
    return spec.registration.model or spec.name


def trains_nothing(spec: Sections) -> bool:
    """Whether the model is measured as it starts: with no epoch, or with a head that is never trained."""
    return spec.training.epochs == 0 or isinstance(spec.head, ZeroShotHead)


def keeps_published_head(spec: Sections) -> bool:
    """Whether the model is a published one as it is: its last layer knows its classes."""
    if not trains_nothing(spec):
        return False
    return starts_whole(spec.head, spec.backbone) or _is_plain_classifier(spec)


def _is_plain_classifier(spec: Sections) -> bool:
    """Whether each image has one class by a linear layer alone, as where ImageNet's weights come from."""
    head, truth = spec.head, spec.task.truth
    is_plain = isinstance(head, LinearHead) and head == LinearHead(dropout=head.dropout)
    one_class = isinstance(truth, LabelTruth) and not truth.several
    return is_plain and one_class and not is_random(spec.backbone)


def gate_metric(spec: Sections) -> str:
    """The metric by which the gate decides: the spec's, or the task's main one."""
    return spec.registration.gate.metric or spec.task.metrics.main


def training_devices(spec: Sections) -> int:
    """Devices that a run by hand trains on."""
    return spec.training.devices or 1


def deployed_devices(spec: Sections) -> int:
    """Devices that a run of a deployment trains on: those that it takes."""
    return spec.training.devices or spec.deployment.gpus or 1


def deployed_gpus(spec: Sections) -> int:
    """GPUs that a run of a deployment takes; 0: it computes on the CPU."""
    gpus = spec.deployment.gpus
    return training_devices(spec) if gpus is None else gpus


def as_deployed(spec: ExperimentSpecT) -> ExperimentSpecT:
    """The spec as a run of its deployment trains it."""
    training = spec.training.model_copy(update={"devices": deployed_devices(spec)})
    return spec.model_copy(update={"training": training})


def poll_schedule(refresh: Refresh) -> CronSchedule | IntervalSchedule:
    """When a refresh looks at the data."""
    if is_interval(refresh.poll):
        return IntervalSchedule(interval=refresh.poll, timezone=refresh.timezone)
    return CronSchedule(cron=refresh.poll, timezone=refresh.timezone)


def watched_metric(spec: Sections) -> str:
    """The validation metric that chooses the kept epoch and stops early: the spec's, or else the gate's.

    A model that is promoted by one metric should not be chosen by another.
    """
    stopping = spec.training.early_stopping
    return stopping.metric if stopping and stopping.metric else gate_metric(spec)
