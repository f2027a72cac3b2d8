"""All sections side by side, as they are before the rules between them are looked at."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field, model_validator

from transferflow.spec.sections.augmentation import Augmentation, Preset
from transferflow.spec.sections.backbone import Backbone
from transferflow.spec.sections.base import Name, Section
from transferflow.spec.sections.data import Data
from transferflow.spec.sections.evaluation import Deployment, Evaluation, Registration
from transferflow.spec.sections.execution import Execution
from transferflow.spec.sections.freeze import Freeze
from transferflow.spec.sections.guide import default_freeze, default_head
from transferflow.spec.sections.head import Head
from transferflow.spec.sections.optimizer import AdamW, Cosine, Optimizer, Schedule
from transferflow.spec.sections.task import TASKS, Task
from transferflow.spec.sections.tracking import Tracking
from transferflow.spec.sections.training import Training


class Sections(Section):
    """Every section of a spec, each valid in itself."""

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
    tracking: Tracking = Tracking()
    """Where the training can be watched."""
    evaluation: Evaluation = Evaluation()
    """What is measured."""
    registration: Registration = Registration()
    """Registered name and gate."""
    deployment: Deployment = Deployment()
    """Workers, schedule and refresh."""
    execution: Execution = Execution()
    """On what the stages compute."""

    @model_validator(mode="before")
    @classmethod
    def _head_without_kind_is_the_tasks(cls, given: object) -> object:
        if not isinstance(given, Mapping):
            return given
        task, head = given.get("task"), given.get("head")
        kind = task.get("kind") if isinstance(task, Mapping) else getattr(task, "kind", None)
        if not isinstance(head, Mapping) or head.get("kind") is not None or kind not in tuple(TASKS):
            return given
        return {**given, "head": {**head, "kind": TASKS[kind].heads[0].kind}}
