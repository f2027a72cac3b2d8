"""How a plan looks on a terminal."""

from __future__ import annotations

import json
from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from transferflow.report.contents import LayerRow
from transferflow.spec.sections.metrics import positive_class
from transferflow.stages.plan.compile import Plan, StagePlan
from transferflow.text import printable


def plan_view(plan: Plan) -> Group:
    """Stages, images, layers, defaults and warnings, one after the other."""
    parts: list[RenderableType] = [
        Text(f"plan for {plan.spec.name}", style="bold"),
        _stages(plan.stages),
        _images(plan),
        _layers(plan),
        _resolved(plan),
    ]
    parts += [Text(f"warning: {printable(text)}", style="yellow") for text in plan.warnings]
    return Group(*parts)


def _stages(stages: Sequence[StagePlan]) -> Table:
    table = Table(title="stages", title_justify="left", title_style="bold")
    for column in ("stage", "key", "", "because"):
        table.add_column(column, overflow="fold")
    for stage in stages:
        state = Text("reused", style="green") if stage.reused else Text("to run", style="bold yellow")
        table.add_row(stage.stage, (stage.key or "")[:12], state, printable(_because(stage)))
    return table


def _because(stage: StagePlan) -> str:
    if stage.key is None:
        return "an earlier stage runs first"
    if stage.reused and not stage.changed:
        return "nothing changed"
    if stage.changed:
        return "\n".join(stage.changed)
    return "first run" if stage.first else "its artifact is not in the store"


def _images(plan: Plan) -> Text:
    counts = ", ".join(f"{split} {count:,}" for split, count in plan.images.items())
    about = "" if plan.exact else "about "
    note = "" if plan.exact else " (from the listing; what prepare finds in the files decides)"
    classes = f"{len(plan.classes)} class{'' if len(plan.classes) == 1 else 'es'}"
    positive = positive_class(plan.spec.task, plan.classes)
    if positive is not None:
        classes += f", {printable(positive)} is the positive one"
    return Text(f"images: {about}{counts}; {classes}{note}\n")


def _layers(plan: Plan) -> Table:
    table = Table(title="layer groups, from input to output", title_justify="left", title_style="bold")
    table.add_column("group")
    table.add_column("part")
    table.add_column("parameters", justify="right")
    phases = plan.training.freeze.phases
    for phase in phases:
        table.add_column("trains" if len(phases) == 1 else f"from epoch {phase.first_epoch + 1}")
    table.add_column("learning rate", justify="right")
    table.add_column("weight decay", justify="right")
    table.add_column("batch norm")
    for column in table.columns:
        column.overflow = "fold"  # a narrow terminal breaks a number, and never cuts it
    for row in plan.training.rows:
        table.add_row(
            row.group,
            row.part,
            f"{row.parameters:,}",
            *(Text("trains", style="green") if now else Text("frozen", style="cyan") for now in row.trains),
            rate_text(row),
            "" if row.weight_decay is None else f"{row.weight_decay:g}",
            "/".join(dict.fromkeys(row.batch_norm)),
        )
    total = sum(row.parameters for row in plan.training.rows)
    ever = sum(row.parameters for row in plan.training.rows if any(row.trains))
    table.caption = f"{ever:,} of {total:,} parameters train ({ever / total:.0%})"
    return table


def rate_text(row: LayerRow) -> str:
    """The group's rate, or its range under layer-wise decay; empty when it never trains."""
    if row.lr_low is None or row.lr_high is None:
        return ""
    return f"{row.lr_high:.3g}" if row.lr_low == row.lr_high else f"{row.lr_low:.3g} … {row.lr_high:.3g}"


def _resolved(plan: Plan) -> Table:
    table = Table(title="what the spec left open", title_justify="left", title_style="bold")
    table.add_column("key", overflow="fold")
    table.add_column("value", overflow="fold")
    for path, value in plan.resolved.items():
        table.add_row(path, printable(json.dumps(value, ensure_ascii=False)))
    return table
