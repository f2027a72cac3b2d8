"""The whole spec, and the rules that span its sections."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from transferflow.spec.augmentation import Augmentation, Preset
from transferflow.spec.backbone import Backbone
from transferflow.spec.base import Name, Section
from transferflow.spec.checks import cross_section_problems
from transferflow.spec.checks_layers import HEADS
from transferflow.spec.data import Data
from transferflow.spec.evaluation import Deployment, Evaluation, Registration
from transferflow.spec.freeze import Freeze
from transferflow.spec.guide import default_freeze, default_head
from transferflow.spec.head import Head
from transferflow.spec.optimizer import AdamW, Cosine, Optimizer, Schedule
from transferflow.spec.task import Task
from transferflow.spec.training import Training


class ExperimentSpec(Section):
    """One experiment: what to train, on what, how, and what it takes to be promoted."""

    name: Name
    """Name of the experiment; also the registered model's unless `registration.model` says otherwise."""
    task: Task
    """Vision task."""
    data: Data
    """Data set and splits."""
    backbone: Backbone
    """Pretrained feature extractor."""
    freeze: Annotated[Freeze, Field(default_factory=lambda done: default_freeze(done.get("task")))]
    """What trains when; left out: what the guide says for the task."""
    head: Annotated[Head, Field(default_factory=lambda done: default_head(done.get("task")))]
    """Output layers; left out: what the guide says for the task."""
    optimizer: Optimizer = AdamW()
    """Optimizer and the learning rate per layer group."""
    schedule: Schedule = Cosine()
    """Learning rate over time."""
    augmentation: Augmentation = Preset()
    """Variation of the training images."""
    training: Training = Training()
    """The loop's settings."""
    evaluation: Evaluation = Evaluation()
    """What is measured."""
    registration: Registration = Registration()
    """Registered name and gate."""
    deployment: Deployment = Deployment()
    """Workers, schedule and refresh."""

    @model_validator(mode="before")
    @classmethod
    def _head_without_kind_is_the_tasks(cls, given: object) -> object:
        if not isinstance(given, Mapping):
            return given
        task, head = given.get("task"), given.get("head")
        kind = task.get("kind") if isinstance(task, Mapping) else getattr(task, "kind", None)
        if not isinstance(head, Mapping) or head.get("kind") is not None or kind not in tuple(HEADS):
            return given
        return {**given, "head": {**head, "kind": HEADS[kind][0]}}

    @model_validator(mode="after")
    def _sections_agree(self) -> Self:
        problems = cross_section_problems(self)
        if problems:
            raise CrossSectionError(problems)
        return self

    def canonical(self, *sections: str) -> dict[str, Any]:
        """Return the named sections as plain JSON data, for a stage's key."""
        return self.model_dump(mode="json", include=set(sections))


class CrossSectionError(ValueError):
    """Carries `(key path, message)` for each rule that spans sections and is broken."""

    def __init__(self, problems: list[tuple[tuple[str, ...], str]]) -> None:
        self.problems = problems
        super().__init__("; ".join(f"{'.'.join(path)}: {message}" for path, message in problems))
