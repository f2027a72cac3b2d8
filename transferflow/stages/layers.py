"""The layer table: what trains when, at which rate; for the plan, the report and MLflow alike."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from transferflow.models.layers import LayerGroup
from transferflow.report.contents import LayerRow
from transferflow.spec import ExperimentSpec
from transferflow.spec.guide import backbone_lr_scale
from transferflow.spec.head import ZeroShotHead
from transferflow.tasks.base import ModelParts
from transferflow.training.freezing import compile_freeze
from transferflow.training.job import FreezePhase, FreezeSchedule, GroupRate
from transferflow.training.rates import decide_rates


@dataclass(frozen=True)
class TrainingPlan:
    """What the freeze policy and the optimizer section come to on this very model."""

    rates: tuple[GroupRate, ...]
    freeze: FreezeSchedule
    rows: tuple[LayerRow, ...]


def compile_training_plan(spec: ExperimentSpec, parts: ModelParts) -> TrainingPlan:
    """Resolve freeze policy and rates against the model's layer groups; works on meta models.

    Raises:
        PlanError: If a rule names a group that the model has not.
    """
    if isinstance(spec.head, ZeroShotHead):
        everything = frozenset(group.name for group in parts.groups)
        freeze = FreezeSchedule((FreezePhase(0, everything),), "frozen")
    else:
        freeze = compile_freeze(spec.freeze, parts.groups, spec.training.epochs)
    scale = backbone_lr_scale(spec)
    rates = decide_rates(parts.model, parts.groups, spec.optimizer, backbone_scale=scale)
    rows = tuple(_row(parts.model, group, rates, freeze) for group in parts.groups)
    return TrainingPlan(rates, freeze, rows)


def _row(model: nn.Module, group: LayerGroup, rates: Iterable[GroupRate], freeze: FreezeSchedule) -> LayerRow:
    mine = [rate for rate in rates if rate.group == group.name]
    trains = tuple(group.name not in phase.frozen for phase in freeze.phases)
    names = set(group.parameters)
    count = sum(p.numel() for name, p in model.named_parameters() if name in names)
    ever = any(trains) and bool(mine)
    return LayerRow(
        group=group.name,
        part=group.part,
        parameters=count,
        trains=trains,
        lr_low=min(rate.lr for rate in mine) if ever else None,
        lr_high=max(rate.lr for rate in mine) if ever else None,
        weight_decay=max(rate.weight_decay for rate in mine) if ever else None,
        batch_norm=_batch_norm(model, group.modules, trains, freeze.batch_norm),
    )


def _batch_norm(
    model: nn.Module, modules: Sequence[str], trains: Sequence[bool], mode: str
) -> tuple[str, ...]:
    has_any = any(
        isinstance(module, torch.nn.modules.batchnorm._BatchNorm)
        for path in modules
        for module in model.get_submodule(path).modules()
    )
    if not has_any:
        return ()
    if mode == "train":
        return tuple("train" for _ in trains)
    return tuple("train" if now and mode != "all_frozen" else "eval" for now in trains)
