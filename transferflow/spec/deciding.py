"""What the spec leaves open and other sections decide: the registered name, and which metric decides."""

from __future__ import annotations

from typing import TypeVar

from transferflow.spec.sections.head import ZeroShotHead
from transferflow.spec.sections.whole import Sections

ExperimentSpecT = TypeVar("ExperimentSpecT", bound=Sections)


def registered_model(spec: Sections) -> str:
    """Name of the model in the registry: the spec's own unless it says otherwise."""
    return spec.registration.model or spec.name


def trains_nothing(spec: Sections) -> bool:
    """Whether the model is measured as it starts: with no epoch, or with a head that is never trained."""
    return spec.training.epochs == 0 or isinstance(spec.head, ZeroShotHead)


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


def watched_metric(spec: Sections) -> str:
    """The validation metric that chooses the kept epoch and stops early: the spec's, or else the gate's.

    A model that is promoted by one metric should not be chosen by another.
    """
    stopping = spec.training.early_stopping
    return stopping.metric if stopping and stopping.metric else gate_metric(spec)
