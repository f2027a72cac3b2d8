"""What a flow run shows of itself: a Markdown page and a table of its stages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from prefect.artifacts import create_markdown_artifact, create_table_artifact

from transferflow.stages.outcome import StageOutcome
from transferflow.stages.refresh.decide import DriftFound
from transferflow.stages.refresh.look import Look
from transferflow.stages.register.standing import describe_standing
from transferflow.text import four_digits

_SHOWN = 50


def publish_summary(name: str, outcomes: Sequence[StageOutcome]) -> None:
    """Attach both artifacts to the flow run; their history is kept under the spec's name."""
    create_table_artifact(
        stage_rows(outcomes), key=f"{name}-stages", description="Stages, and which were reused"
    )
    create_markdown_artifact(summary_page(name, outcomes), key=f"{name}-summary", description="Result")


def publish_look(name: str, look: Look) -> None:
    """Attach what a look at the data found; the history is kept under the spec's name."""
    create_markdown_artifact(look_page(name, look), key=f"{name}-refresh", description="Is there new data?")


def look_page(name: str, look: Look) -> str:
    """Decision, reason and what is new, in Markdown."""
    lines = [f"# {_plain(name)}: {look.decision.action}", "", _plain(look.decision.reason)]
    change = look.change
    if change is not None:
        counts = {
            "images before": change.images,
            "added": change.added,
            "removed": change.removed,
            "relabelled": change.relabelled,
            "edited": change.edited,
        }
        lines += ["", "| Since the last training | Images |", "|---|---:|"]
        lines += [f"| {what} | {count:,} |" for what, count in counts.items()]
    if change is not None and change.drift is not None:
        lines += ["", *_drift_table(change.drift)]
    if change is not None and change.new_per_class:
        lines += ["", "| New images of | Images |", "|---|---:|"]
        largest = sorted(change.new_per_class.items(), key=lambda item: -item[1])
        lines += [f"| {_plain(label)} | {count:,} |" for label, count in largest[:_SHOWN]]
        if largest[_SHOWN:]:
            lines.append(f"| … and {len(largest) - _SHOWN:,} more classes | |")
    return "\n".join(lines)


def _drift_table(drift: DriftFound) -> list[str]:
    if drift.p_value is None:
        return [_plain(f"{drift}.")]
    rows = {
        "MMD² of the champion's features": f"{drift.statistic:.4f}",
        "p-value": f"{drift.p_value:.3f}",
        "new images looked at": f"{drift.new:,}",
        "images of the last training looked at": f"{drift.before:,}",
        "champion": _plain(drift.model),
    }
    return ["| Drift of the new images | |", "|---|---:|", *(f"| {k} | {v} |" for k, v in rows.items())]


def stage_rows(outcomes: Sequence[StageOutcome]) -> list[dict[str, Any]]:
    """A row per stage."""
    return [
        {
            "stage": outcome.stage,
            "result": "reused" if outcome.reused else "done",
            "seconds": round(outcome.seconds, 1),
            "key": outcome.key[:12],
            "artifact": outcome.path,
        }
        for outcome in outcomes
    ]


def summary_page(name: str, outcomes: Sequence[StageOutcome]) -> str:
    """Verdict, metrics and where the report is, in Markdown."""
    by_stage = {outcome.stage: outcome for outcome in outcomes}
    registered = by_stage["register"].summary
    aliases = ", ".join(registered["aliases"]) or "none"
    rows = [
        f"| {_plain(metric)} | "
        + " | ".join(_number(found[part]) for part in ("value", "low", "high"))
        + " |"
        for metric, found in by_stage["evaluate"].summary["metrics"].items()
    ]
    return "\n".join(
        [
            f"# {_plain(name)}: {registered['verdict']}",
            "",
            *(f"- {_plain(line)}" for line in (*registered["reasons"], *describe_standing(registered))),
            "",
            f"Model {_plain(registered['model'])}, version {registered['version']}; "
            f"aliases: {_plain(aliases)}",
            "",
            "| Test metric | Value | 95 % low | 95 % high |",
            "|---|---:|---:|---:|",
            *rows,
            "",
            f"Report: `{registered['report']}`",
        ]
    )


def _number(value: float | None) -> str:
    return "" if value is None else four_digits(value)


def _plain(text: str) -> str:
    # Names come from data sets and registries: nothing in them may act as Markdown or HTML.
    return "".join(f"\\{c}" if c in "\\`*_[]|#" else {"<": "&lt;", ">": "&gt;"}.get(c, c) for c in text)
