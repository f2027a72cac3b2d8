"""The work of the register stage: compare, decide, write the report, register."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from transferflow.errors import ChampionChangedError
from transferflow.registry.base import ModelRegistry, RegisteredVersion, RegistryEntry
from transferflow.report.contents import ReportData, VerdictSummary
from transferflow.report.render import write_report
from transferflow.spec.deciding import registered_model
from transferflow.stages.artifacts import HISTORY, PROOF, REGISTRATION, REPORT, SHEET
from transferflow.stages.context import RunContext
from transferflow.stages.progress import logger
from transferflow.stages.register.card import write_card
from transferflow.stages.register.challenger import Challenger
from transferflow.stages.register.decision import Decision, decide
from transferflow.stages.register.entry import REGISTER_KEY, build_entry
from transferflow.stages.register.report import build_report
from transferflow.store import write_atomic

FORMER = "former"
"""Folder of the masks of former versions, which goes once the verdict is reached."""
TRIES = 4
"""Comparisons, each with another champion, until it is said that others are always faster."""


def promote(
    challenger: Challenger, context: RunContext, registry: ModelRegistry, key: str, folder: Path
) -> None:
    """Write the report and the verdict into `folder`, and move the registry's aliases as it says.

    Processes that share the home compare one after the other. A registry that others share too may get
    another champion meanwhile: then the challenger is compared with that one.

    Args:
        challenger: What was trained and measured.
        context: Surroundings of the run.
        registry: Where it goes.
        key: Key of the register stage.
        folder: Where report and verdict go.

    Raises:
        ChampionChangedError: If others were promoted during each of several comparisons.
    """
    model = registered_model(challenger.spec)
    data = build_report(challenger, None)
    if data.training.sheet:
        shutil.copyfile(challenger.trained.folder / SHEET, folder / data.training.sheet)
    history = json.loads((challenger.trained.folder / HISTORY).read_text())
    write_atomic(folder / PROOF, json.dumps(history["freeze_proof"], indent=2))
    write_card(challenger, data, folder)
    entry = build_entry(context, challenger, history, key, folder)
    with registry.promoting(model):
        version = registry.tagged(model, REGISTER_KEY, key)
        if version is None or not version.is_settled:
            version = _compare_and_register(challenger, context, registry, data, entry, folder)
        else:
            _write_report(
                data, Decision(version.verdict), folder
            )  # it was decided, and its artifact was lost
    write_atomic(folder / REGISTRATION, json.dumps(_summary(version), indent=2))
    shutil.rmtree(folder / FORMER, ignore_errors=True)


def _compare_and_register(
    challenger: Challenger,
    context: RunContext,
    registry: ModelRegistry,
    data: ReportData,
    entry: RegistryEntry,
    folder: Path,
) -> RegisteredVersion:
    tries = 0
    while True:
        champion = registry.champion(entry.model)
        decision = decide(challenger, context, registry, champion, folder / FORMER)
        verdict = decision.verdict
        logger.info("register: %s: %s", verdict.kind.value, "; ".join(verdict.reasons))
        _write_report(data, decision, folder)
        try:
            return registry.register(entry, verdict, champion)
        except ChampionChangedError as error:
            tries += 1
            if tries == TRIES:
                raise
            logger.info("register: %s: comparing again", error.problems[0].what)


def _write_report(data: ReportData, decision: Decision, folder: Path) -> None:
    verdict = VerdictSummary(decision.verdict.kind.value, decision.verdict.reasons)
    write_report(replace(data, verdict=verdict, champion=decision.champion), folder / REPORT)


def _summary(version: RegisteredVersion) -> dict[str, Any]:
    verdict = version.verdict
    return {
        "model": version.model,
        "version": version.version,
        "verdict": verdict.kind.value,
        "reasons": list(verdict.reasons),
        "decided": version.tags["decided"],
        "metric": version.tags.get("metric", ""),
        "lower_is_better": version.tags.get("lower_is_better") == "yes",
    }
