"""Collects what the report shows from the artifacts of the first three stages."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import yaml

from transferflow.data.checks.findings import load_findings, summarize_findings
from transferflow.data.snapshot.manifest import read_rows
from transferflow.data.snapshot.rows import Row
from transferflow.evaluation.pictures import Panel, Picture
from transferflow.report.contents import (
    DataSummary,
    LayerRow,
    Lineage,
    ReportData,
    TrainingSummary,
    VerdictSummary,
)
from transferflow.spec import ExperimentSpec
from transferflow.spec.deciding import gate_metric, trains_nothing
from transferflow.spec.sections.guide import positive_class
from transferflow.stages.artifacts import HISTORY, MASKS, PREDICTIONS, SHEET, TEMPERATURE
from transferflow.stages.evaluate.stage import read_evaluation
from transferflow.stages.outcome import StageOutcome
from transferflow.stages.register.challenger import Challenger
from transferflow.stages.register.heat_maps import add_heat_maps
from transferflow.stages.train.preflight import read_preflight
from transferflow.stages.train.stage import count_skipped
from transferflow.tasks.base import ShowRow, SplitPredictions
from transferflow.tasks.build import build_task
from transferflow.tasks.bundle import read_min_score
from transferflow.tasks.rendering.viewable import show_row
from transferflow.training.job import PhaseProof

SAMPLES, EXAMPLES, WORST = 12, 12, 24
PACKAGES = ("transferflow", "torch", "torchvision", "timm", "albumentations", "numpy")


def build_report(challenger: Challenger, verdict: VerdictSummary | None) -> ReportData:
    """Read the artifacts and lay out the report's data."""
    spec, snapshot = challenger.spec, challenger.snapshot
    history = json.loads((challenger.trained.folder / HISTORY).read_text())
    predictions = pq.read_table(challenger.evaluated.folder / PREDICTIONS)
    task = build_task(spec)
    show_file = partial(show_row, channels=spec.data.channels, intensity=spec.data.intensity)
    show = partial(
        task.show_cases,
        SplitPredictions(predictions, snapshot, "test", challenger.evaluated.folder / MASKS),
        show_file,
        min_score=read_min_score(challenger.trained.folder),
    )
    worst = show(choice="worst", limit=WORST)
    answered = task.answered_classes(predictions)
    if answered is not None:
        worst = add_heat_maps(worst, challenger.trained.folder, answered, snapshot)
    training = _training(spec, history, challenger.trained)
    return ReportData(
        title=spec.name,
        task=spec.task.kind,
        traits=task.traits,
        evaluation=read_evaluation(challenger.evaluated.folder),
        classes=snapshot.classes,
        metrics=spec.task.metrics,
        main_metric=gate_metric(spec),
        training=training,
        data=DataSummary(
            snapshot.counts,
            snapshot.class_counts,
            quarantined=snapshot.quarantined,
            samples=_samples(show_file, read_rows(snapshot, "train")),
        ),
        lineage=_lineage(challenger),
        positive=positive_class(spec.task, snapshot.classes),
        specificity=spec.evaluation.specificity,
        facts=_facts(spec, history),
        worst=tuple(worst),
        examples=tuple(show(choice="spread", limit=EXAMPLES)),
        verdict=verdict,
        warnings=(*summarize_findings(load_findings(snapshot.path)), *_preflight_warnings(training)),
    )


def _preflight_warnings(training: TrainingSummary) -> tuple[str, ...]:
    return training.preflight.warnings if training.preflight else ()


def sheet_name(trained: StageOutcome) -> str:
    """What the sheet of training images is called beside each copy of the report; empty without one."""
    sheet = Path(SHEET)
    is_there = (trained.folder / SHEET).exists()
    return f"{sheet.stem}-{trained.key[:12]}{sheet.suffix}" if is_there else ""


def _training(spec: ExperimentSpec, history: dict[str, Any], trained: StageOutcome) -> TrainingSummary:
    return TrainingSummary(
        history=history["epochs"],
        metric=history["metric"],
        best_epoch=history["best_epoch"],
        layers=tuple(
            LayerRow(**{**row, "trains": tuple(row["trains"]), "batch_norm": tuple(row["batch_norm"])})
            for row in history["layers"]
        ),
        phase_starts=tuple(phase["first_epoch"] for phase in history["phases"]),
        proofs=read_proofs(history),
        stopped_early=history["stopped_early"],
        preflight=read_preflight(trained.folder),
        sheet=sheet_name(trained),
        as_it_came=trains_nothing(spec),
    )


def read_proofs(history: Mapping[str, Any]) -> tuple[PhaseProof, ...]:
    """The freeze proof of each phase, from a bundle's history."""
    return tuple(
        PhaseProof(**{**proof, "groups": tuple(proof["groups"])}) for proof in history["freeze_proof"]
    )


def _samples(show: ShowRow, rows: Sequence[Row]) -> tuple[Picture, ...]:
    """Training images in turn from each class, so that rare classes are seen too."""
    by_class: dict[str, list[Row]] = {}
    for row in rows:
        by_class.setdefault(", ".join(row.labels), []).append(row)
    turns = [row for turn in range(SAMPLES) for group in by_class.values() for row in group[turn : turn + 1]]
    return tuple(
        Picture(
            (Panel(show(row)),),
            ", ".join(row.labels),
            (row.id,),
        )
        for row in turns[:SAMPLES]
    )


def _lineage(challenger: Challenger) -> Lineage:
    stages = (challenger.prepared, challenger.trained, challenger.evaluated)
    return Lineage(
        spec_text=yaml.safe_dump(
            challenger.spec.model_dump(mode="json", exclude_unset=True), sort_keys=False, allow_unicode=True
        ),
        fingerprint=challenger.snapshot.fingerprint,
        keys={stage.stage: stage.key for stage in stages},
        versions={"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
    )


def _facts(spec: ExperimentSpec, history: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    seconds = sum(row.get("seconds", 0.0) for row in history["epochs"])
    skipped = count_skipped(history)
    parts = history["micro_batch"]
    temperature = history.get(TEMPERATURE)
    took = f"{seconds:.0f} s on {_devices(history)}, {history['precision']}"
    epochs = (("epochs", str(len(history["epochs"]))), ("trained in", took))
    more = (
        ("batches", f"{spec.training.batch_size} images, of which {parts} at a time for lack of memory")
        if parts
        else None,
        ("temperature", f"{temperature:.3f}") if temperature else None,
        ("masks", "compared in the size of data.fit") if spec.evaluation.mask_size == "resized" else None,
        ("steps left out", f"{skipped}, whose loss or gradient was not finite") if skipped else None,
    )
    return (
        ("backbone", f"{spec.backbone.name} ({spec.backbone.source})"),
        ("weights", spec.backbone.weights),
        ("freeze policy", spec.freeze.policy),
        *((("epochs", "none"),) if trains_nothing(spec) else epochs),
        *(fact for fact in more if fact),
    )


def _devices(history: Mapping[str, Any]) -> str:
    several = f"{history['devices']} x " if history["devices"] > 1 else ""
    return f"{several}{history['device']}"
