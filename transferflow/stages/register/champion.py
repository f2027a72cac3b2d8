"""A former version, measured again on the challenger's test images and compared with it, image by image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from transferflow.data.checks.duplicates import find_near_duplicates
from transferflow.data.records import DatasetSnapshot
from transferflow.data.snapshot.build import load_snapshot
from transferflow.data.snapshot.manifest import read_groups, read_table
from transferflow.errors import EvaluationError, TransferflowError
from transferflow.evaluation.statistics.bootstrap import Statistic
from transferflow.evaluation.statistics.clusters import IntArray, decide_clusters
from transferflow.evaluation.statistics.comparison import compare_paired, restrict
from transferflow.registry.base import ModelRegistry, RegisteredVersion
from transferflow.registry.gate import ChampionComparison, Compared, GateRule, NotComparable
from transferflow.spec import ExperimentSpec
from transferflow.stages.artifacts import MASKS, PREDICTIONS
from transferflow.stages.context import RunContext
from transferflow.stages.evaluate.predict import predict_split
from transferflow.stages.progress import logger
from transferflow.stages.register.challenger import Challenger
from transferflow.tasks.base import SplitPredictions
from transferflow.tasks.build import build_task
from transferflow.tasks.bundle import load_bundle
from transferflow.tasks.paired_tests import PairedTest, delong_test, mcnemar_test
from transferflow.text import counted

_RESAMPLES_BEYOND = 40
"""Resamples that should lie beyond each end of an interval, so that its end is no single resample's."""
_MOST_RESAMPLES = 20_000


@dataclass(frozen=True)
class Opponent:
    """A former version on the challenger's test images.

    Attributes:
        name: How it is called, such as `version 3`.
        predictions: What it says of them.
        kept: Numbers of the test images that are compared on, in the manifest's order.
        note: What there is to know about them; may be empty.
    """

    name: str
    predictions: SplitPredictions
    kept: IntArray
    note: str


def measure_opponent(
    challenger: Challenger,
    context: RunContext,
    registry: ModelRegistry,
    version: RegisteredVersion,
    folder: Path,
) -> Opponent | NotComparable:
    """Predict the challenger's test images with a former version.

    Images that it was trained on, by their content or by what they look like, are left out: it knows them.

    Args:
        challenger: Whose test images they are.
        context: Surroundings of the run.
        registry: Where the version's bundle is.
        version: The former version.
        folder: Where its masks go.
    """
    name = f"version {version.version}"
    try:
        bundle = registry.bundle(version)
    except TransferflowError as error:
        return NotComparable(name, str(error.problems[0]))
    return measure_bundle(
        challenger, context, name, bundle, trained_on(context, version, challenger.snapshot), folder
    )


def measure_bundle(
    challenger: Challenger,
    context: RunContext,
    name: str,
    bundle_folder: Path,
    known: frozenset[str] | None,
    folder: Path,
) -> Opponent | NotComparable:
    """Predict the challenger's test images with any bundle.

    Args:
        challenger: Whose test images they are.
        context: Surroundings of the run.
        name: How the model is called.
        bundle_folder: The model.
        known: Ids of the test images that it was trained on; `None`: nobody knows.
        folder: Where its masks go.
    """
    spec, snapshot = challenger.spec, challenger.snapshot
    try:
        bundle = load_bundle(bundle_folder)
    except TransferflowError as error:
        return NotComparable(name, str(error.problems[0]))
    align = _alignment(spec, snapshot, bundle.spec, bundle.classes)
    if isinstance(align, str):
        return NotComparable(name, align)
    kept = np.flatnonzero(~np.array([image in (known or ()) for image in read_groups(snapshot, "test")]))
    if not kept.size:
        return NotComparable(name, "it was trained on every image of the test split")
    logger.info("register: measuring %s on the same test images", name)
    table = align(predict_split(spec, context, snapshot, bundle_folder, folder).table)
    return Opponent(
        name, SplitPredictions(table, snapshot, "test", folder), kept, _note(name, known, len(kept))
    )


def _note(name: str, known: frozenset[str] | None, kept: int) -> str:
    if known is None:
        return f"which images {name} was trained on is not known here: its snapshot is not in this home"
    if not known:
        return ""
    was = f"that {name} was trained on"
    count = counted(len(known), f"test image {was} is", f"test images {was} are")
    return f"{count} left out of the comparison: {kept} are left"


def _alignment(
    spec: ExperimentSpec, snapshot: DatasetSnapshot, theirs: ExperimentSpec, classes: tuple[str, ...]
) -> Callable[[pa.Table], pa.Table] | str:
    """What leads their answers to our classes, or why nothing can."""
    if type(theirs.task) is not type(spec.task):
        return f"it was trained for {theirs.task.kind}, not for {spec.task.kind}"
    if theirs.task != spec.task:
        return f"it was trained for {theirs.task.kind} with other settings"
    if theirs.data.channels != spec.data.channels:
        return f"it sees {theirs.data.channels} channels, not {spec.data.channels}"
    align = build_task(spec).align_classes(classes, snapshot.classes)
    return align if align is not None else f"it knows other classes: {', '.join(classes)}"


def trained_on(
    context: RunContext, version: RegisteredVersion, snapshot: DatasetSnapshot
) -> frozenset[str] | None:
    """Ids of the test images that a version was trained on, or chosen by.

    Returns:
        The ids; `None` where the version's own snapshot is not in this home.
    """
    if version.tags.get("snapshot") == snapshot.fingerprint:
        return frozenset()
    prepared = context.store.find("prepare", version.tags.get("prepare_key") or "none")
    if prepared is None:
        return None
    columns = ["id", "split", "sha256", "phash"]
    theirs = read_table(load_snapshot(prepared.path), columns)
    theirs = theirs.filter(pc.not_equal(theirs["split"], "test"))
    ours = read_table(snapshot, columns)
    ours = ours.filter(pc.equal(ours["split"], "test"))
    ids = ours["id"].to_pylist()
    same = pc.is_in(ours["sha256"], value_set=theirs["sha256"].combine_chunks()).to_pylist()
    hashes = pa.chunked_array([*theirs["phash"].chunks, *ours["phash"].chunks], ours["phash"].type)
    first = len(theirs)
    alike = {ids[b - first] for a, b in find_near_duplicates(hashes) if a < first <= b}
    return frozenset(image for image, found in zip(ids, same, strict=True) if found) | alike


def own_predictions(challenger: Challenger) -> SplitPredictions:
    """What the challenger says of its test images."""
    folder = challenger.evaluated.folder
    table = pq.read_table(folder / PREDICTIONS)
    return SplitPredictions(table, challenger.snapshot, "test", folder / MASKS)


def paired_statistics(challenger: Challenger, opponent: Opponent, metric: str) -> tuple[Statistic, Statistic]:
    """A metric of the opponent and of the challenger, over the images that both have never seen."""
    task, total = build_task(challenger.spec), challenger.snapshot.counts["test"]
    before, after = (
        restrict(task.build_statistic(predictions, metric), opponent.kept, total)
        for predictions in (opponent.predictions, own_predictions(challenger))
    )
    return before, after


def compare_metric(challenger: Challenger, opponent: Opponent, rule: GateRule) -> Compared:
    """Compare the two models in one metric on the images that both have never seen."""
    spec, snapshot, kept = challenger.spec, challenger.snapshot, opponent.kept
    pair = paired_statistics(challenger, opponent, rule.metric)
    groups = list(read_groups(snapshot, "test").values())
    clusters = decide_clusters([groups[image] for image in kept]).of_image
    try:
        result = compare_paired(
            *pair,
            images=len(kept),
            resamples=decide_resamples(spec.evaluation.bootstrap, rule.confidence),
            seed=spec.training.seed,
            confidence=rule.confidence,
            clusters=clusters,
        )
    except EvaluationError as error:
        return NotComparable(opponent.name, f"{rule.metric}: {error.problems[0].what}")
    # Images of one group are no independent evidence, which these tests take them for.
    beside = _test_beside(challenger, opponent, rule, pair) if clusters is None else None
    return ChampionComparison(
        opponent.name,
        result.champion,
        result.difference,
        result.low,
        result.high,
        images=len(kept),
        bootstrap_p_value=result.p_value,
        p_value=beside.p_value if beside else None,
        test=beside.name if beside else "",
        test_interval=beside.interval if beside else None,
    )


def decide_resamples(asked: int, confidence: float) -> int:
    """Resamples for a paired interval: more where its ends lie far out in the tails."""
    wanted = int(np.ceil(2 * _RESAMPLES_BEYOND / (1 - confidence)))
    return min(max(asked, 1000, wanted), _MOST_RESAMPLES)


def _test_beside(
    challenger: Challenger, opponent: Opponent, rule: GateRule, pair: tuple[Statistic, Statistic]
) -> PairedTest | None:
    """A test of its own, where the metric has one."""
    mine, theirs = own_predictions(challenger), opponent.predictions
    return mcnemar_test(rule.metric, *pair, len(opponent.kept)) or delong_test(
        challenger.spec.task, rule.metric, theirs, mine, opponent.kept, rule.confidence
    )
