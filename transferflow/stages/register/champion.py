"""The champion, measured again on the challenger's test images and compared with it, image by image."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq

from transferflow.data.records import DatasetSnapshot
from transferflow.data.snapshot.manifest import read_groups
from transferflow.errors import TransferflowError
from transferflow.evaluation.statistics.clusters import decide_clusters
from transferflow.evaluation.statistics.comparison import compare_paired
from transferflow.registry.base import ModelRegistry, RegisteredVersion
from transferflow.registry.gate import ChampionComparison, GateRule, NotComparable
from transferflow.spec import ExperimentSpec
from transferflow.stages.artifacts import MASKS, PREDICTIONS
from transferflow.stages.context import RunContext
from transferflow.stages.evaluate.measure import predict_split
from transferflow.stages.progress import logger
from transferflow.tasks.base import SplitPredictions
from transferflow.tasks.build import build_task
from transferflow.tasks.bundle import load_bundle


def compare_with_champion(
    spec: ExperimentSpec,
    context: RunContext,
    snapshot: DatasetSnapshot,
    registry: ModelRegistry,
    champion: RegisteredVersion,
    evaluated: Path,
    folder: Path,
    rule: GateRule,
) -> ChampionComparison | NotComparable:
    """Predict the same test images with the champion, and compare the two models on them.

    Args:
        spec: The challenger's spec.
        context: Surroundings of the run.
        snapshot: Whose test images decide.
        registry: Where the champion's bundle is.
        champion: The promoted version.
        evaluated: Folder of the challenger's evaluation.
        folder: Where the champion's masks go.
        rule: The gate: its metric, and how sure the comparison has to be.
    """
    name = f"version {champion.version}"
    try:
        bundle_folder = registry.bundle(champion)
        bundle = load_bundle(bundle_folder)
    except TransferflowError as error:
        return NotComparable(name, str(error.problems[0]))
    if bundle.spec.task != spec.task:
        return NotComparable(name, f"it was trained for {bundle.spec.task.kind} with other settings")
    if bundle.spec.data.channels != spec.data.channels:
        return NotComparable(name, f"it sees {bundle.spec.data.channels} channels, not {spec.data.channels}")
    task = build_task(spec)
    align = task.align_classes(bundle.classes, snapshot.classes)
    if align is None:
        return NotComparable(name, f"it knows other classes: {', '.join(bundle.classes)}")
    logger.info("register: measuring the champion (%s) on the same test images", name)
    theirs = align(predict_split(spec, context, snapshot, bundle_folder, folder).table)
    ours = pq.read_table(evaluated / PREDICTIONS)
    champion_statistic, challenger_statistic = (
        task.build_statistic(SplitPredictions(table, snapshot, "test", masks), rule.metric)
        for table, masks in ((theirs, folder), (ours, evaluated / MASKS))
    )
    result = compare_paired(
        champion_statistic,
        challenger_statistic,
        images=snapshot.counts["test"],
        resamples=max(spec.evaluation.bootstrap, 1000),
        seed=spec.training.seed,
        confidence=rule.confidence,
        clusters=decide_clusters(list(read_groups(snapshot, "test").values())).of_image,
    )
    return ChampionComparison(name, result.champion, result.difference, result.low, result.high)
