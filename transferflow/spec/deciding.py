"""What the spec leaves open and other sections decide: the registered name, and which metric decides."""

from __future__ import annotations

from transferflow.spec.sections.head import ZeroShotHead
from transferflow.spec.sections.whole import Sections


def registered_model(spec: Sections) -> str:
    """Name of the model in the registry: the spec's own unless it says otherwise."""
    return spec.registration.model or spec.name


def trains_nothing(spec: Sections) -> bool:
    """Whether the model is measured as it starts: with no epoch, or with a head that is never trained."""
    return spec.training.epochs == 0 or isinstance(spec.head, ZeroShotHead)


def gate_metric(spec: Sections) -> str:
    """The metric by which the gate decides: the spec's, or the task's main one."""
    return spec.registration.gate.metric or spec.task.metrics.main


def watched_metric(spec: Sections) -> str:
    """The validation metric that chooses the kept epoch and stops early: the spec's, or else the gate's.

    A model that is promoted by one metric should not be chosen by another.
    """
    stopping = spec.training.early_stopping
    return stopping.metric if stopping and stopping.metric else gate_metric(spec)
