"""How a plan looks on a terminal: what will happen, then layer by layer, then what nobody asked for."""

from __future__ import annotations

import json
from collections.abc import Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from transferflow.cli.plan_summary import plan_facts, rate_text, when_it_trains
from transferflow.report.contents import LayerRow
from transferflow.stages.plan.compile import Plan, StagePlan
from transferflow.text import printable

_GAP = (0, 2, 0, 0)
_INPUTS = {
    "files": "the files changed",
    "snapshot": "the images, labels or splits changed",
    "model": "the model changed",
    "evaluation": "what was measured changed",
    "slices": "the slices of the test images changed",
    "version": "this transferflow makes it in another way",
}
"""What differs, where its value would tell a person nothing."""


def plan_view(plan: Plan, defaults: bool = False) -> Group:
    """Stages, what trains, and the layers; the defaults where asked for; warnings last.

    Args:
        plan: What to show.
        defaults: Whether to list what the spec left open.
    """
    backbone = plan.spec.backbone
    title = f"plan for {plan.spec.name}: {plan.spec.task.kind} with {backbone.name} ({backbone.source})"
    parts: list[RenderableType] = [
        Text(printable(title), style="bold"),
        Text(),
        _stages(plan.stages),
        Text(),
        _facts(plan),
        Text(),
        _layers(plan.training.rows, [phase.first_epoch for phase in plan.training.freeze.phases]),
    ]
    parts += [_resolved(plan)] if defaults else []
    parts += [Text(f"warning: {printable(text)}", style="yellow") for text in plan.warnings]
    if not defaults:
        parts.append(Text(f"--defaults shows the {len(plan.resolved)} values that the spec left open"))
    return Group(*parts)


def _stages(stages: Sequence[StagePlan]) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False, padding=_GAP)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    table.add_column(style="dim", no_wrap=True)
    for before, stage in zip((None, *stages), stages, strict=False):
        state = Text("reused", style="green") if stage.reused else Text("to run", style="bold yellow")
        table.add_row(stage.stage, state, printable(_because(stage, before)), (stage.key or "")[:12])
    return table


def _because(stage: StagePlan, before: StagePlan | None) -> str:
    if before is not None and stage.key is None:
        return f"after {before.stage}"
    if stage.changed:
        return "\n".join(_INPUTS.get(change.partition(": ")[0], change) for change in stage.changed)
    if stage.reused:
        return "nothing changed"
    return "first run" if stage.first else "its artifact is not in the store"


def _facts(plan: Plan) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False, padding=_GAP)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, fact in plan_facts(plan):
        table.add_row(name, printable(fact))
    return table


def _layers(rows: Sequence[LayerRow], first_epochs: Sequence[int]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    table.add_column("layer group")
    table.add_column("part")
    table.add_column("parameters", justify="right")
    table.add_column("trains")
    table.add_column("learning rate", justify="right")
    table.add_column("batch norm")
    for column in table.columns:
        column.overflow = "fold"  # a narrow terminal breaks a number, and never cuts it
    for row in rows:
        table.add_row(
            row.group,
            row.part,
            f"{row.parameters:,}",
            Text(when_it_trains(row, first_epochs), style="green" if any(row.trains) else "cyan"),
            rate_text(row),
            "/".join(dict.fromkeys(row.batch_norm)),
        )
    return table


def _resolved(plan: Plan) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    table.add_column("what the spec left open", overflow="fold")
    table.add_column("value", overflow="fold")
    for path, value in plan.resolved.items():
        table.add_row(path, printable(json.dumps(value, ensure_ascii=False)))
    return table
