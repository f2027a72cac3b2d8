"""Baselines beside a model on the same test images: what its training is worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from transferflow.data.records import DatasetSnapshot, SplitName
from transferflow.data.snapshot.manifest import read_rows
from transferflow.errors import WeightsError
from transferflow.evaluation.probes import linear_answer, mean_answer, neighbours_answer
from transferflow.evaluation.results import MetricValue
from transferflow.evaluation.statistics.bootstrap import FloatArray
from transferflow.spec import ExperimentSpec
from transferflow.spec.deciding import decide_baselines
from transferflow.spec.sections.backbone import CheckpointBackbone, PackageBackbone
from transferflow.spec.sections.evaluation import BaselineName
from transferflow.spec.sections.head import LinearHead
from transferflow.stages.context import RunContext
from transferflow.stages.evaluate.features import Features, compute_features
from transferflow.stages.evaluate.predict import predict_split
from transferflow.stages.outcome import StageOutcome
from transferflow.stages.progress import logger
from transferflow.stages.train.stage import train
from transferflow.tasks.base import SplitPredictions
from transferflow.tasks.baselines import build_answers, build_targets, link_of
from transferflow.tasks.build import build_task

_NAME_ENDS = "--from-scratch"
_LONGEST_NAME = 64


@dataclass(frozen=True)
class _Split:
    """What a probe is fitted to, or asked."""

    features: FloatArray
    targets: FloatArray


def measure_baselines(
    spec: ExperimentSpec,
    context: RunContext,
    snapshot: DatasetSnapshot,
    prepared: StageOutcome,
    folder: Path,
) -> dict[str, Mapping[str, MetricValue]]:
    """Measure the baselines of a spec but for the champion, whom the register stage measures.

    Args:
        spec: The spec.
        context: Surroundings of the run.
        snapshot: The data set.
        prepared: The stage that it came from.
        folder: Where large arrays (masks) of baselines go.

    Raises:
        WeightsError: If probes are asked for, and the pretrained weights are not to be had.
    """
    names = [name for name in decide_baselines(spec) if name != "champion"]
    found: dict[BaselineName, pa.Table] = {}
    if "majority" in names:
        found["majority"] = _majority(spec, snapshot)
    probes = [name for name in names if name in ("knn", "linear_probe")]
    if probes:
        found |= _probes(spec, context, snapshot, probes)
    if "from_scratch" in names:
        found["from_scratch"] = _from_scratch(spec, context, snapshot, prepared, folder)
    task, resamples, seed = build_task(spec), spec.evaluation.bootstrap, spec.training.seed
    return {
        name: task.evaluate(
            SplitPredictions(found[name], snapshot, "test", folder / name), resamples=resamples, seed=seed
        ).metrics
        for name in names
        if name in found
    }


def _majority(spec: ExperimentSpec, snapshot: DatasetSnapshot) -> pa.Table:
    targets = build_targets(spec.task, read_rows(snapshot, "train"), snapshot.classes)
    ids = [row.id for row in read_rows(snapshot, "test")]
    return build_answers(spec.task, ids, mean_answer(targets, len(ids)))


def _probes(
    spec: ExperimentSpec, context: RunContext, snapshot: DatasetSnapshot, names: Sequence[BaselineName]
) -> dict[BaselineName, pa.Table]:
    try:
        features = compute_features(spec, context, snapshot)
    except WeightsError as error:
        if spec.evaluation.baselines is not None:
            raise
        # Nobody asked for them: a model that is there is measured without.
        logger.warning("evaluate: without %s: %s", " and ".join(names), error.problems[0].what)
        return {}
    splits = {split: _with_targets(spec, snapshot, features, split) for split in features}
    train, val, queries = splits["train"], splits["val"], splits["test"].features
    ids = [row.id for row in features["test"].rows]
    answers: dict[BaselineName, FloatArray] = {}
    if "knn" in names:
        answers["knn"] = neighbours_answer(train.features, train.targets, queries)
    if "linear_probe" in names:
        fitted, chosen_by = (train.features, train.targets), (val.features, val.targets)
        answers["linear_probe"] = linear_answer(fitted, chosen_by, queries, link_of(spec.task))
    return {name: build_answers(spec.task, ids, values) for name, values in answers.items()}


def _with_targets(
    spec: ExperimentSpec, snapshot: DatasetSnapshot, features: Mapping[SplitName, Features], split: SplitName
) -> _Split:
    found = features[split]
    targets = build_targets(spec.task, found.rows, snapshot.classes)
    return _Split(found.values.astype(np.float64), targets)


def _from_scratch(
    spec: ExperimentSpec,
    context: RunContext,
    snapshot: DatasetSnapshot,
    prepared: StageOutcome,
    folder: Path,
) -> pa.Table:
    """Predictions of the same recipe from random weights; its training is an artifact of its own."""
    scratch = random_start(spec)
    logger.info("evaluate: training the same recipe from random weights")
    trained = train(scratch, context, prepared)
    return predict_split(scratch, context, snapshot, trained.folder, folder / "from_scratch").table


def random_start(spec: ExperimentSpec) -> ExperimentSpec:
    """The same spec without pretrained weights.

    Every layer trains at the head's rate and batch norm gathers its own statistics: freezing random layers,
    or slowing them down, would make it look worse than it is.
    """
    document = spec.model_dump(mode="json")
    document["name"] = f"{spec.name[: _LONGEST_NAME - len(_NAME_ENDS)]}{_NAME_ENDS}"
    half = [0.5] * spec.data.channels
    document["backbone"] = {
        "source": _library(spec),
        "name": spec.backbone.name,
        "weights": "none",
        "normalization": {"mean": half, "std": half},
    }
    document["freeze"] = {"policy": "none"}
    document["optimizer"] |= {"layer_lr": {}, "layer_decay": None, "backbone_lr_scale": 1.0}
    if isinstance(spec.head, LinearHead):
        start = LinearHead()
        document["head"] |= {"warm_start": None, "init": start.init, "prompts": start.prompts}
    document["evaluation"] |= {"baselines": []}
    return ExperimentSpec.model_validate(document)


def _library(spec: ExperimentSpec) -> str:
    match spec.backbone:
        case CheckpointBackbone(library=library):
            return library
        case PackageBackbone():
            return "timm"
        case _:
            return spec.backbone.source
