"""Models side by side on the same test images: metrics, classes, images, specs and data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from transferflow.data.records import DatasetSnapshot
from transferflow.data.snapshot.build import load_snapshot
from transferflow.data.snapshot.diff import SnapshotDiff, compare_snapshots
from transferflow.data.snapshot.manifest import read_rows
from transferflow.errors import RegistryError, StoreError
from transferflow.evaluation.statistics.mcnemar import image_values
from transferflow.registry.base import RegisteredVersion
from transferflow.registry.gate import Compared, GateRule, NotComparable
from transferflow.spec import ExperimentSpec
from transferflow.spec.sections.intensity import Intensity
from transferflow.stages.candidates import Candidate, find_candidate, require_version
from transferflow.stages.context import RunContext
from transferflow.stages.keys import changed_inputs
from transferflow.stages.outcome import StageName, StageOutcome
from transferflow.stages.register.challenger import Challenger
from transferflow.stages.register.champion import (
    Opponent,
    compare_metric,
    measure_bundle,
    own_predictions,
    paired_statistics,
    trained_on,
)
from transferflow.stages.register.footprint import measure_latency, size_in_mb
from transferflow.store import ArtifactStore
from transferflow.tasks.base import ImagePredictions, SplitPredictions
from transferflow.tasks.build import build_task
from transferflow.tasks.bundle_files import read_description


@dataclass(frozen=True)
class Disagreement:
    """An image that two models answer differently.

    Attributes:
        image: Its id.
        file: The image file.
        channels: Channels that it is seen in.
        intensity: How wider values than 8 bits become 0..255.
        before: What the older model says, in words.
        after: What the newer one says.
        value_before: The metric of this image alone.
        value_after: The same of the newer model.
    """

    image: str
    file: Path
    channels: int
    intensity: Intensity
    before: str
    after: str
    value_before: float
    value_after: float


@dataclass(frozen=True)
class Pair:
    """A model against the last one that was named.

    Attributes:
        name: How the older model is called.
        note: What there is to know about the images; may be empty.
        metrics: The comparison by metric, newer minus older.
        per_class: Class name, metric, value of the older and of the newer model.
        metric: The metric by which images differ; empty where none is defined for one image.
        disagreements: Images that differ in it, the largest difference first.
        disagreeing: How many there are.
        spec: What differs between the specs, in words.
        data: What differs between the snapshots; `None` where they are the same or not both in this home.
        size_mb: Size of the older model's weights.
        latency_ms: Its median time for one image.
    """

    name: str
    note: str
    metrics: dict[str, Compared]
    per_class: tuple[tuple[str, str, float, float], ...]
    metric: str
    disagreements: tuple[Disagreement, ...]
    disagreeing: int
    spec: tuple[str, ...]
    data: SnapshotDiff | None
    size_mb: float
    latency_ms: float


@dataclass(frozen=True)
class ModelComparison:
    """Models against the last one that was named.

    Attributes:
        name: How that one is called.
        images: Its test images, on which all are measured.
        size_mb: Size of its weights.
        latency_ms: Its median time for one image.
        lower_is_better: Metrics of which less is better.
        pairs: The others against it, in the order in which they were named.
    """

    name: str
    images: int
    size_mb: float
    latency_ms: float
    lower_is_better: frozenset[str]
    pairs: tuple[Pair, ...]


def compare_models(
    models: Sequence[str], context: RunContext, folder: Path, *, shown: int = 12
) -> ModelComparison:
    """Measure registered models on the test images of the last one, and compare each with it.

    Args:
        models: At least two, the newest last; see `find_candidate`. The last one is a version of this home:
            its test images are taken.
        context: Surroundings.
        folder: Where masks go.
        shown: Disagreements to list per pair.

    Raises:
        RegistryError: If there is no such model.
        StoreError: If the last one's evaluation is not in this home.
    """
    candidates = [find_candidate(model, context) for model in models]
    last = require_version(candidates[-1])
    newest = _challenger(last, context)
    pairs = []
    for number, candidate in enumerate(candidates[:-1]):
        known = None if candidate.version is None else trained_on(context, candidate.version, newest.snapshot)
        masks = folder / str(number)
        opponent = measure_bundle(newest, context, candidate.name, candidate.bundle, known, masks)
        if isinstance(opponent, NotComparable):
            raise RegistryError(
                f"it can't be compared with {last.uri}", where=candidate.name, found=opponent.reason
            )
        pairs.append(_pair(newest, opponent, candidate, context, shown))
    return ModelComparison(
        name=candidates[-1].name,
        images=newest.snapshot.counts["test"],
        size_mb=size_in_mb(newest.trained.folder),
        latency_ms=measure_latency(newest.spec, newest.snapshot, newest.trained.folder),
        lower_is_better=newest.spec.task.metrics.lower_is_better,
        pairs=tuple(pairs),
    )


def _challenger(version: RegisteredVersion, context: RunContext) -> Challenger:
    """The version as the register stage saw it."""
    tags: dict[StageName, str] = {
        "prepare": "prepare_key",
        "train": "train_key",
        "evaluate": "evaluation_key",
    }
    stages = {
        stage: _outcome(context.store, stage, version.tags.get(tags[stage], ""), version) for stage in tags
    }
    spec = ExperimentSpec.model_validate(read_description(stages["train"].folder)["spec"])
    snapshot = load_snapshot(stages["prepare"].folder)
    return Challenger(spec, snapshot, stages["prepare"], stages["train"], stages["evaluate"])


def _outcome(store: ArtifactStore, stage: StageName, key: str, version: RegisteredVersion) -> StageOutcome:
    found = store.find(stage, key or "none")
    if found is None:
        raise StoreError(
            f"what {stage} made for this version is not in this home",
            where=version.uri,
            hint="run its spec again, or name the home that it was made in with --home",
        )
    return StageOutcome(stage, key, str(found.path), True, 0.0, {})


def _pair(
    newest: Challenger, opponent: Opponent, candidate: Candidate, context: RunContext, shown: int
) -> Pair:
    spec = newest.spec
    names = spec.evaluation.metrics or spec.task.metrics.names
    lower = spec.task.metrics.lower_is_better
    metric, differing = _differing(newest, opponent, names)
    old_spec = read_description(candidate.bundle)["spec"]
    return Pair(
        name=candidate.name,
        note=opponent.note,
        metrics={name: compare_metric(newest, opponent, GateRule(name, name in lower)) for name in names},
        per_class=_per_class(newest, opponent),
        metric=metric,
        disagreements=_describe(newest, opponent, differing[:shown]),
        disagreeing=len(differing),
        spec=tuple(changed_inputs(old_spec, spec.model_dump(mode="json"))),
        data=_data_diff(candidate.version, newest.snapshot, context),
        size_mb=size_in_mb(candidate.bundle),
        latency_ms=measure_latency(spec, newest.snapshot, candidate.bundle),
    )


def _per_class(newest: Challenger, opponent: Opponent) -> tuple[tuple[str, str, float, float], ...]:
    """On all test images: what a class has few of should not become fewer."""
    task, seed = build_task(newest.spec), newest.spec.training.seed
    before, after = (
        task.evaluate(predictions, resamples=0, seed=seed).per_class
        for predictions in (opponent.predictions, own_predictions(newest))
    )
    return tuple(
        (label, metric, before[label][metric], row[metric])
        for label, row in after.items()
        for metric in newest.spec.task.metrics.per_class
        if metric in row and label in before
    )


def _differing(
    newest: Challenger, opponent: Opponent, names: Sequence[str]
) -> tuple[str, list[tuple[int, float, float]]]:
    """The first metric that single images have, and the images that differ in it, the most first."""
    for name in names:
        before, after = (
            image_values(statistic, len(opponent.kept))
            for statistic in paired_statistics(newest, opponent, name)
        )
        difference = np.abs(after - before)
        if np.isfinite(difference).any():
            order = np.argsort(-np.nan_to_num(difference), kind="stable")
            found = [int(n) for n in order if difference[n] > 0]
            return name, [(int(opponent.kept[n]), float(before[n]), float(after[n])) for n in found]
    return "", []


def _describe(
    newest: Challenger, opponent: Opponent, found: Sequence[tuple[int, float, float]]
) -> tuple[Disagreement, ...]:
    rows = read_rows(newest.snapshot, "test")
    ids = [rows[number].id for number, _, _ in found]
    before, after = (
        _in_words(newest, predictions, ids) for predictions in (opponent.predictions, own_predictions(newest))
    )
    data = newest.spec.data
    return tuple(
        Disagreement(
            rows[n].id,
            rows[n].absolute_path,
            data.channels,
            data.intensity,
            before[rows[n].id],
            after[rows[n].id],
            old,
            new,
        )
        for n, old, new in found
    )


def _in_words(newest: Challenger, predictions: SplitPredictions, ids: Sequence[str]) -> dict[str, str]:
    """What a model says of some images, as `predict` prints it."""
    output = build_task(newest.spec).output
    chosen = set(ids)
    table = predictions.table.filter([image in chosen for image in predictions.table["id"].to_pylist()])
    rows = [row for row in read_rows(newest.snapshot, "test") if row.id in chosen]
    sizes = {row.id: (row.width, row.height) for row in rows}
    found = ImagePredictions(table, sizes, newest.snapshot.classes, predictions.folder)
    words: dict[str, list[str]] = {image: [] for image in ids}
    for row in output.rows(found):
        what, score, _ = output.cells(row, 1)
        words[row["image"]].append(f"{what} {score}".strip())
    return {image: "; ".join(said[:5]) + ("; …" if said[5:] else "") for image, said in words.items()}


def _data_diff(
    version: RegisteredVersion | None, snapshot: DatasetSnapshot, context: RunContext
) -> SnapshotDiff | None:
    if version is None or version.tags.get("snapshot") == snapshot.fingerprint:
        return None
    prepared = context.store.find("prepare", version.tags.get("prepare_key") or "none")
    return compare_snapshots(load_snapshot(prepared.path), snapshot) if prepared else None
