"""The layer table: what trains when, at which rate; for the plan, the report and MLflow alike."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from torch import nn

from transferflow.errors import PlanError, Problem
from transferflow.models.layers import LayerGroup, is_batch_norm
from transferflow.report.contents import LayerRow
from transferflow.spec import ExperimentSpec
from transferflow.spec.deciding import trains_nothing
from transferflow.spec.sections.guide import backbone_lr_scale, default_freeze
from transferflow.spec.yaml.tree import path_text
from transferflow.stages.train.layers import TrainingPlan
from transferflow.tasks.base import ModelParts
from transferflow.training.freezing import compile_freeze
from transferflow.training.job import FreezePhase, FreezeSchedule, GroupRate
from transferflow.training.patterns import match_groups
from transferflow.training.proof import require_separable
from transferflow.training.rates import decide_rates

Made = TypeVar("Made")


def compile_training_plan(spec: ExperimentSpec, parts: ModelParts) -> TrainingPlan:
    """Resolve freeze policy and rates against the model's layer groups; works on meta models.

    Raises:
        PlanError: If rules name groups that the model has not, give a rate to groups that never train, or the
            like; carries every problem.
    """
    problems: list[Problem] = []
    scale = backbone_lr_scale(spec.optimizer, spec.task)
    freeze = _unless_wrong(problems, lambda: _freeze_schedule(spec, parts.groups))
    rates = _unless_wrong(
        problems, lambda: decide_rates(parts.model, parts.groups, spec.optimizer, backbone_scale=scale)
    )
    problems += [] if freeze is None else _rates_that_never_hold(spec, parts.groups, freeze)
    if freeze is None or rates is None or problems:
        raise PlanError.from_problems(problems)
    require_separable(parts.model, parts.groups, freeze)
    rows = tuple(_row(parts.model, group, rates, freeze) for group in parts.groups)
    return TrainingPlan(rates, freeze, rows)


def _unless_wrong(problems: list[Problem], make: Callable[[], Made]) -> Made | None:
    """What `make` makes; what is wrong goes to `problems`, so that all of it is said at once."""
    try:
        return make()
    except PlanError as error:
        problems += error.problems
        return None


def _freeze_schedule(spec: ExperimentSpec, groups: Sequence[LayerGroup]) -> FreezeSchedule:
    if trains_nothing(spec):
        everything = frozenset(group.name for group in groups)
        return FreezeSchedule((FreezePhase(0, everything),), "frozen")
    return compile_freeze(spec.freeze, groups, spec.training.epochs)


def _rates_that_never_hold(
    spec: ExperimentSpec, groups: Sequence[LayerGroup], freeze: FreezeSchedule
) -> list[Problem]:
    """Rules of `layer_lr` that mean frozen groups only."""
    never = frozenset.intersection(*(phase.frozen for phase in freeze.phases))
    matched = {rule: match_groups(rule, groups) for rule in spec.optimizer.layer_lr}
    is_default = spec.freeze == default_freeze(spec.task)
    default = f" (the default for {spec.task.kind})" if is_default else ""
    return [
        Problem(
            f"has a rate and never trains under freeze.policy {spec.freeze.policy}{default}",
            where=path_text(("optimizer", "layer_lr", rule)),
            found=f"frozen: {', '.join(names)}",
            hint="take the rate away, or let one of these groups train",
        )
        for rule, names in matched.items()
        if names and never.issuperset(names)
    ]


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
    has_any = any(is_batch_norm(module) for path in modules for module in model.get_submodule(path).modules())
    if not has_any:
        return ()
    if mode == "train":
        return tuple("train" for _ in trains)
    return tuple("train" if now and mode != "all_frozen" else "eval" for now in trains)
