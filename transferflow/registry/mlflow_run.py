"""Logs one evaluated model as an MLflow run: params, curves, metrics, data set and files."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, TypeVar

from transferflow.registry.base import RegistryEntry
from transferflow.registry.mlflow_flavour import write_flavour
from transferflow.store import digest

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric

BUNDLE = "bundle"
TAG_PREFIX = "transferflow."
_DIGEST_LENGTH = 36  # MLflow's limit for a data set's digest; the whole one goes into a tag
_PARAMS_PER_CALL = 100
_METRICS_PER_CALL = 1000
_Item = TypeVar("_Item")


def log_run(client: MlflowClient, experiment_id: str, entry: RegistryEntry) -> str:
    """Log everything but the model version; the run ends as FINISHED, or FAILED when this raises.

    Returns:
        The run's id.
    """
    tags = prefixed({**entry.tags, "evaluation_key": entry.evaluation_key})
    if entry.description:
        tags["mlflow.note.content"] = entry.description
    run = client.create_run(experiment_id, tags=tags, run_name=entry.run_name)
    run_id = str(run.info.run_id)
    status = "FAILED"
    try:
        _log_params(client, run_id, entry.params)
        _log_metrics(client, run_id, entry)
        _log_dataset(client, run_id, entry)
        client.log_artifacts(run_id, str(entry.bundle), BUNDLE)
        with TemporaryDirectory() as folder:
            for file in write_flavour(Path(folder)):
                client.log_artifact(run_id, str(file), BUNDLE)
        log_files(client, run_id, entry)
        status = "FINISHED"
    finally:
        client.set_terminated(run_id, status)
    return run_id


def log_files(client: MlflowClient, run_id: str, entry: RegistryEntry) -> None:
    """Keep an entry's files with a run, by their own names; those of the same name are replaced."""
    for file in entry.files:
        client.log_artifact(run_id, str(file))
    for file in entry.bundle_files:
        client.log_artifact(run_id, str(file), BUNDLE)


def forget_unfinished(client: MlflowClient, experiment_id: str, evaluation_key: str) -> None:
    """Delete runs of an evaluation that never became a version: whoever logged them was stopped."""
    wanted = f"tags.`{TAG_PREFIX}evaluation_key` = '{evaluation_key}'"
    for run in client.search_runs([experiment_id], wanted):
        client.delete_run(run.info.run_id)


def prefixed(tags: Mapping[str, str]) -> dict[str, str]:
    """Our tags under our own prefix, beside those of others."""
    return {TAG_PREFIX + name: value for name, value in tags.items()}


def safe_name(name: str) -> str:
    """A name that MLflow takes for a param or metric; what had to change is told apart by a digest."""
    clean = re.sub(r"[^A-Za-z0-9_. -]", "_", name)[:200]
    if not clean.strip(". "):
        clean = "_"
    return clean if clean == name else f"{clean}-{digest(name)[:8]}"


def flat_params(document: Mapping[str, Any]) -> dict[str, str]:
    """Nested JSON as `a.b.c: text`; empty and missing values are left out."""
    return {safe_name(path): text for path, text in _flat(document, "")}


def _flat(value: object, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for name, part in value.items():
            yield from _flat(part, f"{path}.{name}" if path else str(name))
    elif isinstance(value, str):
        yield path, value
    elif value is not None:
        yield path, json.dumps(value, ensure_ascii=False)


def _log_params(client: MlflowClient, run_id: str, document: Mapping[str, Any]) -> None:
    from mlflow.entities import Param

    params = [Param(name, text) for name, text in flat_params(document).items()]
    for batch in _batches(params, _PARAMS_PER_CALL):
        client.log_batch(run_id, params=batch)


def _log_metrics(client: MlflowClient, run_id: str, entry: RegistryEntry) -> None:
    now = int(time.time() * 1000)
    metrics = [
        *_points("epoch", entry.history, now),
        *_points("test", [_with_interval(entry)], now),
    ]
    for batch in _batches(metrics, _METRICS_PER_CALL):
        client.log_batch(run_id, metrics=batch)


def _with_interval(entry: RegistryEntry) -> dict[str, float]:
    values = {}
    for name, metric in entry.metrics.items():
        values[name] = metric.value
        if metric.low is not None and metric.high is not None:
            values[f"{name}_low"], values[f"{name}_high"] = metric.low, metric.high
    return values


def _points(family: str, rows: Sequence[Mapping[str, float]], now: int) -> Iterator[Metric]:
    from mlflow.entities import Metric

    for step, row in enumerate(rows):
        for name, value in row.items():
            if math.isfinite(value):
                yield Metric(f"{family}/{safe_name(name)}", float(value), now, step)


def _log_dataset(client: MlflowClient, run_id: str, entry: RegistryEntry) -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    dataset = Dataset(
        name=entry.dataset,
        digest=entry.dataset_digest[:_DIGEST_LENGTH],
        source_type="local",
        source=json.dumps({"uri": entry.dataset_source}),
    )
    tags = [InputTag("mlflow.data.context", "training"), InputTag("sha256", entry.dataset_digest)]
    client.log_inputs(run_id, [DatasetInput(dataset, tags)])
    client.set_tag(run_id, TAG_PREFIX + "dataset_sha256", entry.dataset_digest)


def _batches(items: Sequence[_Item], size: int) -> Iterator[list[_Item]]:
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch
