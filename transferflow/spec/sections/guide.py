"""The guide that defaults follow: what suits which task, when the spec leaves it open."""

from __future__ import annotations

from collections.abc import Sequence

from transferflow.spec.sections.data import Data, FitMode, KeptShape
from transferflow.spec.sections.freeze import FreezeBackbone, FreezeNone
from transferflow.spec.sections.head import Head, LinearHead
from transferflow.spec.sections.optimizer import AdamW, Sgd
from transferflow.spec.sections.task import Task
from transferflow.spec.sections.truth import LabelTruth


def default_freeze(task: Task | None) -> FreezeNone | FreezeBackbone:
    """What the guide says for the task; without one (its section is wrong) everything trains."""
    return FreezeNone(policy="none") if task is None else task.traits.freeze


def default_head(task: Task | None) -> Head:
    """The task's first head; without a task (its section is wrong) a linear one."""
    return LinearHead() if task is None else task.traits.heads[0]


def backbone_lr_scale(optimizer: AdamW | Sgd, task: Task) -> float:
    """Scale of the backbone's rates: the spec's, or what the guide says for the task."""
    if optimizer.backbone_lr_scale is not None:
        return optimizer.backbone_lr_scale
    if optimizer.layer_decay is not None:
        return 1.0
    return task.traits.backbone_lr_scale


def decide_fit(data: Data, task: Task) -> FitMode | KeptShape:
    """How an image becomes what the model sees: as the spec says, or as suits the task."""
    return data.fit or task.traits.fit


def positive_class(task: Task, classes: Sequence[str]) -> str | None:
    """The class that sensitivity is about: the second of two exclusive ones; else none."""
    return classes[1] if task.truth == LabelTruth(several=False) and len(classes) == 2 else None
