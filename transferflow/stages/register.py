"""Stage 4: the gate decides, and the registry keeps the model."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

from transferflow.data.records import DatasetSnapshot
from transferflow.data.snapshot import load_snapshot
from transferflow.errors import RegistryError
from transferflow.registry.base import CHAMPION, ModelRegistry, RegisteredVersion, RegistryEntry
from transferflow.registry.gate import (
    ChampionComparison,
    GateRule,
    NotComparable,
    Verdict,
    VerdictKind,
    decide_verdict,
)
from transferflow.registry.mlflow_registry import MlflowRegistry
from transferflow.report.contents import VerdictSummary
from transferflow.report.render import write_report
from transferflow.spec import ExperimentSpec
from transferflow.spec.metrics import metric_names
from transferflow.stages.champion import compare_with_champion
from transferflow.stages.context import RunContext
from transferflow.stages.evaluate import METRICS, load_evaluation
from transferflow.stages.keys import register_inputs
from transferflow.stages.outcome import StageOutcome
from transferflow.stages.reporting import Finished, build_report
from transferflow.stages.train import HISTORY
from transferflow.stages.watch import logger
from transferflow.store import digest, write_atomic

REGISTRATION, REPORT = "registration.json", "report.html"


def register(
    spec: ExperimentSpec,
    context: RunContext,
    prepared: StageOutcome,
    trained: StageOutcome,
    evaluated: StageOutcome,
) -> StageOutcome:
    """Decide PROMOTE, HOLD or REJECT, register the version and write the report.

    Raises:
        RegistryError: If the registry refuses or does not answer.
    """
    started = time.perf_counter()
    registry = MlflowRegistry(context.home, context.tracking_uri)
    inputs = register_inputs(spec, evaluated.key, registry.location)
    key = digest(inputs)
    finished = Finished(spec, load_snapshot(prepared.folder), prepared, trained, evaluated)
    found = context.store.find("register", key)
    if found is not None and not _is_there(registry, found.path):
        shutil.rmtree(found.path)
        found = None
    artifact = found or context.store.publish(
        "register", key, inputs, lambda folder: _register(finished, context, registry, folder)
    )
    context.store.remember_inputs("register", spec.name, inputs)
    summary = json.loads((artifact.path / REGISTRATION).read_text())
    report = context.home / "reports" / f"{spec.name}.html"
    write_atomic(report, (artifact.path / REPORT).read_bytes())
    seconds = time.perf_counter() - started
    return StageOutcome(
        "register", key, str(artifact.path), found is not None, seconds, summary | {"report": str(report)}
    )


def _is_there(registry: ModelRegistry, folder: Path) -> bool:
    """Whether the registry still has the version; somebody may have deleted it, or the whole registry."""
    summary = json.loads((folder / REGISTRATION).read_text())
    try:
        registry.find(summary["model"], str(summary["version"]))
    except RegistryError:
        return False
    return True


def _register(finished: Finished, context: RunContext, registry: ModelRegistry, folder: Path) -> None:
    spec = finished.spec
    model = spec.registration.model or spec.name
    champion = registry.champion(model)
    if champion is not None and champion.evaluation_key == finished.evaluated.key:
        verdict = Verdict(VerdictKind.PROMOTE, ("it is the champion already",))
    else:
        verdict = _decide(finished, context, registry, champion, folder / "champion")
    logger.info("register: %s: %s", verdict.kind.value, "; ".join(verdict.reasons))
    data = build_report(finished, VerdictSummary(verdict.kind.value, verdict.reasons))
    write_report(data, folder / REPORT)
    version = registry.register(_entry(finished, model, folder))
    version = registry.settle(version, verdict, champion)
    write_atomic(folder / REGISTRATION, json.dumps(_summary(version, verdict), indent=2))
    shutil.rmtree(folder / "champion", ignore_errors=True)


def _decide(
    finished: Finished,
    context: RunContext,
    registry: ModelRegistry,
    champion: RegisteredVersion | None,
    folder: Path,
) -> Verdict:
    spec, gate = finished.spec, finished.spec.registration.gate
    names = metric_names(spec.task)
    metric = gate.metric or names.main
    against = gate.against_champion
    rule = GateRule(
        metric=metric,
        lower_is_better=metric in names.lower_is_better,
        minimum=gate.minimum,
        margin=against.margin if against else None,
        confidence=against.confidence if against else 0.95,
    )
    comparison: ChampionComparison | NotComparable | None = None
    if champion is not None and against is not None:
        comparison = compare_with_champion(
            spec, context, finished.snapshot, registry, champion, finished.evaluated.folder, folder, metric
        )
    return decide_verdict(rule, load_evaluation(finished.evaluated.folder).metrics[metric].value, comparison)


def _entry(finished: Finished, model: str, folder: Path) -> RegistryEntry:
    spec, snapshot = finished.spec, finished.snapshot
    history = json.loads((finished.trained.folder / HISTORY).read_text())
    evaluation = load_evaluation(finished.evaluated.folder)
    return RegistryEntry(
        model=model,
        run_name=spec.name,
        evaluation_key=finished.evaluated.key,
        bundle=finished.trained.folder,
        dataset=spec.name,
        dataset_digest=snapshot.fingerprint,
        dataset_source=str(snapshot.root),
        files=(folder / REPORT, finished.evaluated.folder / METRICS),
        params=spec.model_dump(mode="json"),
        metrics=evaluation.metrics,
        history=history["epochs"],
        tags=_tags(finished, snapshot, history),
        description=f"{spec.backbone.name} for {spec.task.kind}, trained by the spec `{spec.name}`.",
    )


def _tags(finished: Finished, snapshot: DatasetSnapshot, history: dict[str, Any]) -> dict[str, str]:
    holds = all(proof["before"] == proof["after"] for proof in history["freeze_proof"])
    return {
        "prepare_key": finished.prepared.key,
        "train_key": finished.trained.key,
        "evaluation_key": finished.evaluated.key,
        "snapshot": snapshot.fingerprint,
        "freeze_proof": "holds" if holds else "broken",
    }


def _summary(version: RegisteredVersion, verdict: Verdict) -> dict[str, Any]:
    return {
        "model": version.model,
        "version": version.version,
        "aliases": list(version.aliases),
        "is_champion": CHAMPION in version.aliases,
        "verdict": verdict.kind.value,
        "reasons": list(verdict.reasons),
    }
