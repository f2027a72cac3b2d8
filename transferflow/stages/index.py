"""The index page of a home, from its finished runs."""

from __future__ import annotations

import math
import os
from pathlib import Path
from urllib.parse import quote

from transferflow.errors import RegistryError
from transferflow.logs import get_logger
from transferflow.report.index_page import HistoryPoint, IndexRow, write_index
from transferflow.stages.context import RunContext
from transferflow.stages.register.standing import report_path
from transferflow.stages.runs import RunRecord, describe_changes, describe_metric, list_runs
from transferflow.text import describe_seconds

INDEX = "index.html"
_SHOWN_CHANGES = 4

logger = get_logger("index")


def write_home_index(context: RunContext) -> Path:
    """Write the page beside the reports that it links to.

    Returns:
        The page.
    """
    path = context.reports / INDEX
    runs = list_runs(context)
    aliases = _aliases(context, {run.model for run in runs})
    rows = [_row(run, aliases.get((run.model, run.version), ""), context) for run in runs]
    histories: dict[tuple[str, str], list[HistoryPoint]] = {}
    for run in reversed(runs):
        point = _point(run)
        if point is not None:
            histories.setdefault((run.model, run.metric), []).append(point)
    write_index(path, str(context.home), rows, histories)
    return path


def _aliases(context: RunContext, models: set[str]) -> dict[tuple[str, int], str]:
    """Aliases as they are today; the page is whole without them where the registry does not answer."""
    try:
        return {
            (model, version.version): ", ".join(version.aliases)
            for model in models
            for version in context.registry.versions(model)
        }
    except RegistryError as error:
        logger.warning("index: without aliases: %s", error.problems[0].what)
        return {}


def _row(run: RunRecord, aliases: str, context: RunContext) -> IndexRow:
    report = report_path(context.reports, run.model, run.version, context.registry.identity)
    link = quote(os.path.relpath(report, context.reports)) if report.is_file() else ""
    return IndexRow(
        name=run.name,
        link=link,
        version=str(run.version),
        aliases=aliases,
        when=run.decided[:16],
        metric=describe_metric(run),
        verdict=run.verdict,
        reasons=run.reasons,
        trained=describe_seconds(run.seconds),
        changed=describe_changes(run, _SHOWN_CHANGES),
    )


def _point(run: RunRecord) -> HistoryPoint | None:
    value = run.value
    if value is None or math.isnan(value.value):
        return None
    return HistoryPoint(run.version, value.value, value.low, value.high, run.verdict == "PROMOTE")
