"""The work of the register stage: compare, decide, write the report, register."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transferflow.registry.base import CHAMPION, ModelRegistry, RegisteredVersion, RegistryEntry
from transferflow.registry.gate import (
    ChampionComparison,
    GateRule,
    NotComparable,
    Verdict,
    VerdictKind,
    decide_verdict,
)
from transferflow.report.contents import VerdictSummary
from transferflow.report.render import write_report
from transferflow.spec.deciding import gate_metric, registered_model
from transferflow.stages.artifacts import HISTORY, METRICS, PROOF, REGISTRATION, REPORT
from transferflow.stages.context import RunContext
from transferflow.stages.evaluate.stage import read_evaluation
from transferflow.stages.progress import logger
from transferflow.stages.register.challenger import Challenger
from transferflow.stages.register.champion import compare_with_champion
from transferflow.stages.register.report import build_report, read_proofs
from transferflow.stages.train.key import TRAIN_KEY, WARM_START, base_of
from transferflow.store import ArtifactStore, write_atomic
from transferflow.training.job import PhaseProof


def promote(challenger: Challenger, context: RunContext, registry: ModelRegistry, folder: Path) -> None:
    """Write the report and the verdict into `folder`, and move the registry's aliases as it says."""
    spec = challenger.spec
    model = registered_model(spec)
    champion = registry.champion(model)
    if champion is not None and champion.evaluation_key == challenger.evaluated.key:
        verdict = Verdict(VerdictKind.PROMOTE, ("it is the champion already",))
    else:
        verdict = _decide(challenger, context, registry, champion, folder / "champion")
    logger.info("register: %s: %s", verdict.kind.value, "; ".join(verdict.reasons))
    data = build_report(challenger, VerdictSummary(verdict.kind.value, verdict.reasons))
    write_report(data, folder / REPORT)
    history = json.loads((challenger.trained.folder / HISTORY).read_text())
    write_atomic(folder / PROOF, json.dumps(history["freeze_proof"], indent=2))
    version = registry.register(_entry(context.store, challenger, model, history, folder))
    version = registry.settle(version, verdict, champion)
    write_atomic(folder / REGISTRATION, json.dumps(_summary(version, verdict), indent=2))
    shutil.rmtree(folder / "champion", ignore_errors=True)


def _decide(
    challenger: Challenger,
    context: RunContext,
    registry: ModelRegistry,
    champion: RegisteredVersion | None,
    folder: Path,
) -> Verdict:
    spec, gate = challenger.spec, challenger.spec.registration.gate
    evaluated = challenger.evaluated.folder
    metric = gate_metric(spec)
    against = gate.against_champion
    rule = GateRule(
        metric=metric,
        lower_is_better=metric in spec.task.metrics.lower_is_better,
        minimum=gate.minimum,
        margin=against.margin if against else None,
        confidence=against.confidence if against else 0.95,
    )
    comparison: ChampionComparison | NotComparable | None = None
    if champion is not None and against is not None:
        comparison = compare_with_champion(
            spec, context, challenger.snapshot, registry, champion, evaluated, folder, rule
        )
    measured = read_evaluation(evaluated).metrics[metric]
    return decide_verdict(rule, measured.value, comparison, measured.reason)


def _entry(
    store: ArtifactStore, challenger: Challenger, model: str, history: dict[str, Any], folder: Path
) -> RegistryEntry:
    spec, snapshot = challenger.spec, challenger.snapshot
    evaluation = read_evaluation(challenger.evaluated.folder)
    return RegistryEntry(
        model=model,
        run_name=spec.name,
        evaluation_key=challenger.evaluated.key,
        bundle=challenger.trained.folder,
        dataset=spec.name,
        dataset_digest=snapshot.fingerprint,
        dataset_source=str(snapshot.root),
        files=(folder / REPORT, folder / PROOF, challenger.evaluated.folder / METRICS),
        params=spec.model_dump(mode="json"),
        metrics=evaluation.metrics,
        history=history["epochs"],
        tags=_tags(store, challenger, history),
        description=f"{spec.backbone.name} for {spec.task.kind}, trained by the spec `{spec.name}`.",
    )


def _tags(store: ArtifactStore, challenger: Challenger, history: dict[str, Any]) -> dict[str, str]:
    trained_from = dict(store.get("train", challenger.trained.key).inputs)
    return {
        "prepare_key": challenger.prepared.key,
        TRAIN_KEY: challenger.trained.key,
        "train_base": base_of(trained_from),
        WARM_START: str(trained_from.get(WARM_START, "")),
        "evaluation_key": challenger.evaluated.key,
        "snapshot": challenger.snapshot.fingerprint,
        "freeze_proof": _proof_in_a_word(read_proofs(history)),
    }


def _proof_in_a_word(proofs: Sequence[PhaseProof]) -> str:
    if not any(proof.tensors for proof in proofs):
        return "nothing frozen"
    return "holds" if all(proof.holds for proof in proofs) else "broken"


def _summary(version: RegisteredVersion, verdict: Verdict) -> dict[str, Any]:
    return {
        "model": version.model,
        "version": version.version,
        "aliases": list(version.aliases),
        "is_champion": CHAMPION in version.aliases,
        "verdict": verdict.kind.value,
        "reasons": list(verdict.reasons),
    }
