"""What the registry keeps about a challenger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from transferflow.data.remote.address import shown_root
from transferflow.registry.base import RegistryEntry, StageTag
from transferflow.spec.deciding import gate_metric, registered_model
from transferflow.stages.artifacts import CARD, METRICS, PROOF, REPORT
from transferflow.stages.context import RunContext
from transferflow.stages.evaluate.stage import read_evaluation
from transferflow.stages.register.challenger import Challenger
from transferflow.stages.register.report import read_proofs, sheet_name
from transferflow.stages.train.key import TRAIN_KEY, WARM_START, base_of
from transferflow.store import ArtifactStore
from transferflow.training.job import PhaseProof
from transferflow.training.tracking.spool import Spool

REGISTER_KEY: StageTag = "register_key"


def build_entry(
    context: RunContext, challenger: Challenger, history: Mapping[str, Any], key: str, folder: Path
) -> RegistryEntry:
    """Collect it from the artifacts of all stages.

    Args:
        context: Surroundings of the run.
        challenger: What was trained and measured.
        history: The training's `history.json`.
        key: Key of the register stage.
        folder: Where its report, proof and sheet of training images lie, or will.
    """
    spec, snapshot = challenger.spec, challenger.snapshot
    evaluation = read_evaluation(challenger.evaluated.folder)
    sheet = sheet_name(challenger.trained)
    files = (folder / REPORT, folder / PROOF, challenger.evaluated.folder / METRICS)
    return RegistryEntry(
        model=registered_model(spec),
        run_name=spec.name,
        evaluation_key=challenger.evaluated.key,
        bundle=challenger.trained.folder,
        dataset=spec.name,
        dataset_digest=snapshot.fingerprint,
        dataset_source=shown_root(spec.data.root, snapshot.root),
        files=(*files, folder / sheet) if sheet else files,
        bundle_files=(folder / CARD,),
        params=spec.model_dump(mode="json"),
        metrics=evaluation.metrics,
        history=history["epochs"],
        tags=_tags(context.store, challenger, history, key),
        description=f"{spec.backbone.name} for {spec.task.kind}, trained by the spec `{spec.name}`.",
        points=Spool(context.points(challenger.trained.key)) if spec.tracking.mlflow else None,
    )


def _tags(
    store: ArtifactStore, challenger: Challenger, history: Mapping[str, Any], key: str
) -> dict[str, str]:
    metric = gate_metric(challenger.spec)
    trained_from = dict(store.get("train", challenger.trained.key).inputs)
    return {
        "prepare_key": challenger.prepared.key,
        TRAIN_KEY: challenger.trained.key,
        "train_base": base_of(trained_from),
        WARM_START: str(trained_from.get(WARM_START, "")),
        "evaluation_key": challenger.evaluated.key,
        REGISTER_KEY: key,
        "metric": metric,
        "lower_is_better": "yes" if metric in challenger.spec.task.metrics.lower_is_better else "no",
        "snapshot": challenger.snapshot.fingerprint,
        "freeze_proof": _proof_in_a_word(read_proofs(history)),
    }


def _proof_in_a_word(proofs: Sequence[PhaseProof]) -> str:
    if not any(proof.tensors for proof in proofs):
        return "nothing frozen"
    return "holds" if all(proof.holds for proof in proofs) else "broken"
