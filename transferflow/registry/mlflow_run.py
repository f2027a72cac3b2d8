"""Logs one evaluated model as an MLflow run: params, curves, metrics, data set and files."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from transferflow.registry.base import RegistryEntry
from transferflow.registry.mlflow_flavour import write_flavour
from transferflow.registry.mlflow_metrics import (
    batches,
    log_metrics,
    metrics_of,
    safe_name,
    ship_points,
    without_known,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

BUNDLE = "bundle"
TAG_PREFIX = "transferflow."
_DIGEST_LENGTH = 36  # MLflow's limit for a data set's digest; the whole one goes into a tag
_PARAMS_PER_CALL = 100
_POINTS, _EVALUATION = f"{TAG_PREFIX}points", f"{TAG_PREFIX}evaluation_key"


def log_run(client: MlflowClient, experiment_id: str, entry: RegistryEntry, place: str) -> str:
    """Log everything but the model version; the run ends as FINISHED, or FAILED when this raises.

    Args:
        client: Of the registry.
        experiment_id: Where the run goes.
        entry: What to log; the run that was made while it was trained is gone on with.
        place: What the registry is called beside the training's points.

    Returns:
        The run's id.
    """
    tags = prefixed({**entry.tags, "evaluation_key": entry.evaluation_key})
    if entry.description:
        tags["mlflow.note.content"] = entry.description
    run = _run_of_training(client, experiment_id, entry)
    if run is None:
        run = client.create_run(experiment_id, run_name=entry.run_name)
    run_id = str(run.info.run_id)
    status = "FAILED"
    try:
        _set_tags(client, run_id, tags)
        _log_params(client, run, entry.params)
        if entry.points is not None and entry.points.identity:
            with entry.points.shipping():
                ship_points(client, run_id, entry.points, place)
        _log_metrics(client, run_id, entry)
        if not run.inputs or not run.inputs.dataset_inputs:
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


def forget_unfinished(client: MlflowClient, experiment_id: str, entry: RegistryEntry) -> None:
    """Delete runs of an evaluation that never became a version: whoever logged them was stopped.

    The run of its training stays: it has the points, and is gone on with.
    """
    kept = _run_of_training(client, experiment_id, entry)
    for run in client.search_runs([experiment_id], f"tags.`{_EVALUATION}` = '{entry.evaluation_key}'"):
        if kept is None or run.info.run_id != kept.info.run_id:
            client.delete_run(run.info.run_id)


def live_run(client: MlflowClient, experiment_id: str, identity: str) -> Run | None:
    """The run of the training whose spool has this identity, or `None`."""
    if not identity.isalnum():
        return None
    return next(iter(client.search_runs([experiment_id], f"tags.`{_POINTS}` = '{identity}'")), None)


def begin_live(client: MlflowClient, experiment_id: str, identity: str, run_name: str, train_key: str) -> str:
    """Make the run of a training that is under way, or go on with it; returns its id."""
    run = live_run(client, experiment_id, identity)
    if run is None:
        tags = {_POINTS: identity, f"{TAG_PREFIX}train_key": train_key}
        run = client.create_run(experiment_id, tags=tags, run_name=run_name)
    elif run.info.status != "RUNNING":
        client.update_run(run.info.run_id, status="RUNNING")
    return str(run.info.run_id)


def _run_of_training(client: MlflowClient, experiment_id: str, entry: RegistryEntry) -> Run | None:
    """The run that was made while the model was trained, unless another evaluation has gone on with it."""
    run = live_run(client, experiment_id, entry.points.identity) if entry.points else None
    if run is None or run.data.tags.get(_EVALUATION, entry.evaluation_key) != entry.evaluation_key:
        return None
    return run


def prefixed(tags: Mapping[str, str]) -> dict[str, str]:
    """Our tags under our own prefix, beside those of others."""
    return {TAG_PREFIX + name: value for name, value in tags.items()}


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


def _set_tags(client: MlflowClient, run_id: str, tags: Mapping[str, str]) -> None:
    from mlflow.entities import RunTag

    client.log_batch(run_id, tags=[RunTag(name, text) for name, text in tags.items()])


def _log_params(client: MlflowClient, run: Run, document: Mapping[str, Any]) -> None:
    from mlflow.entities import Param

    # MLflow changes none: what a former try has logged stays, and differs in nothing that shapes the model.
    params = [
        Param(name, text) for name, text in flat_params(document).items() if name not in run.data.params
    ]
    for batch in batches(params, _PARAMS_PER_CALL):
        client.log_batch(run.info.run_id, params=batch)


def _log_metrics(client: MlflowClient, run_id: str, entry: RegistryEntry) -> None:
    now = int(time.time() * 1000)
    metrics = [
        *(one for epoch, row in enumerate(entry.history) for one in metrics_of("epoch", epoch, row, now)),
        *metrics_of("test", 0, _with_interval(entry), now),
    ]
    log_metrics(client, run_id, without_known(client, run_id, metrics))


def _with_interval(entry: RegistryEntry) -> dict[str, float]:
    values = {}
    for name, metric in entry.metrics.items():
        values[name] = metric.value
        if metric.low is not None and metric.high is not None:
            values[f"{name}_low"], values[f"{name}_high"] = metric.low, metric.high
    return values


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
