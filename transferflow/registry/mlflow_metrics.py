"""Metrics of an MLflow run: names that MLflow takes, in batches, and each point once."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

from transferflow.store import digest
from transferflow.training.tracking.spool import Shipped, Spool

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric

_METRICS_PER_CALL = 1000
_Item = TypeVar("_Item")


def safe_name(name: str) -> str:
    """A name that MLflow takes for a param or metric; what had to change is told apart by a digest."""
    clean = re.sub(r"[^A-Za-z0-9_. -]", "_", name)[:200]
    if not clean.strip(". "):
        clean = "_"
    return clean if clean == name else f"{clean}-{digest(name)[:8]}"


def metrics_of(family: str, step: int, values: Mapping[str, float], time: int) -> Iterator[Metric]:
    """The finite ones of named values as MLflow's metrics.

    Args:
        family: First part of their names.
        step: The step that they are of.
        values: By name.
        time: When they were measured, in ms since 1970.
    """
    from mlflow.entities import Metric

    for name, value in values.items():
        if math.isfinite(value):
            yield Metric(f"{family}/{safe_name(name)}", float(value), time, step)


def log_metrics(client: MlflowClient, run_id: str, metrics: Iterable[Metric]) -> None:
    """Send metrics, as many in a call as MLflow takes."""
    for batch in batches(metrics, _METRICS_PER_CALL):
        client.log_batch(run_id, metrics=batch)


def without_known(client: MlflowClient, run_id: str, metrics: Sequence[Metric]) -> list[Metric]:
    """The metrics of which the run has no value at their step."""
    there = client.get_run(run_id).data.metrics
    known = {
        (name, found.step)
        for name in {metric.key for metric in metrics} & there.keys()
        for found in client.get_metric_history(run_id, name)
    }
    return [metric for metric in metrics if (metric.key, metric.step) not in known]


def ship_points(client: MlflowClient, run_id: str, spool: Spool, place: str) -> None:
    """Send what a run has not of a training's points, and remember how far it has them; the caller is alone.

    Args:
        client: Of the tracking store.
        run_id: The run.
        spool: The points.
        place: What the store is called beside the spool.
    """
    shipped = spool.load_shipped(place)
    if shipped.run != run_id or shipped.sent > spool.size:
        shipped = Shipped(run_id)
    while True:
        points, end = spool.read(shipped.sent)
        if end == shipped.sent:
            return
        metrics = [one for p in points for one in metrics_of(p.family, p.step, p.values, p.time)]
        if shipped.doubtful:
            metrics = without_known(client, run_id, metrics)
        spool.sync()
        spool.save_shipped(place, replace(shipped, doubtful=True))
        log_metrics(client, run_id, metrics)
        shipped = Shipped(run_id, end, doubtful=False)
        spool.save_shipped(place, shipped)


def batches(items: Iterable[_Item], size: int) -> Iterator[list[_Item]]:
    """Items in lists of at most `size`."""
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch
