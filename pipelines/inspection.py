"""The shards of a large data set as mapped steps: in threads, or on the workers of a Dask cluster."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, assert_never

import pyarrow as pa
from prefect import flow, task, unmapped
from prefect.cache_policies import NO_CACHE
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from transferflow.cpus import usable_cpus
from transferflow.data.snapshot.shards import Inspect, Shard, inspect_here, inspect_into, read_inspected
from transferflow.errors import FlowError
from transferflow.spec.sections.execution import DaskPreparation, HerePreparation

_KEY = "execution.prepare"
_LARGE = 40
_SHARED = 2
Place = Literal["here", "threads", "dask"]


@task(name="inspect", cache_policy=NO_CACHE, retries=2, retry_delay_seconds=1)
def inspect_step(shard: Shard, folder: Path) -> str:
    """Open the files of one shard; what they hold goes into a file of `folder`."""
    return str(inspect_into(shard, folder))


def decide_place(shards: int, address: str | None) -> Place:
    """Decide where shards are inspected: steps have a price, which a few shards are not worth."""
    if address:
        return "dask" if shards >= _SHARED else "here"
    return "threads" if shards >= _LARGE else "here"


def mapped_inspection(preparation: HerePreparation | DaskPreparation, folder: Path) -> Inspect:
    """Build an inspection that maps the shards of large sets over a task runner.

    Args:
        preparation: Who opens the images.
        folder: Where the shards' facts are kept, so that a run that was cut off goes on where it was; Dask
            workers must see it, and the images, under the same path.
    """
    address = preparation.address if isinstance(preparation, DaskPreparation) else None

    def inspect(shards: Sequence[Shard]) -> Iterable[pa.Table]:
        place = decide_place(len(shards), address)
        if place == "here":
            return inspect_here(usable_cpus())(shards)
        return read_inspected(map(Path, _map_shards(shards, folder, place, address)))

    return inspect


def _map_shards(
    shards: Sequence[Shard], folder: Path, place: Literal["threads", "dask"], address: str | None
) -> list[str]:
    # Without parameters: Prefect would send a million names to its server.
    @flow(name="inspect", task_runner=_build_runner(place, address))
    def inspect() -> list[str]:
        return inspect_step.map(list(shards), unmapped(folder)).result()

    try:
        return inspect()
    except OSError as error:
        if address is None:
            raise
        raise FlowError(
            "the images can't be inspected on the Dask cluster",
            where=f"{_KEY}.address",
            found=f"{address}: {error}",
            hint=f"start a scheduler and workers that see the data, or leave {_KEY} out",
        ) from error


def _build_runner(place: Literal["threads", "dask"], address: str | None) -> TaskRunner[Any]:
    match place:
        case "threads":
            return ThreadPoolTaskRunner(max_workers=usable_cpus())
        case "dask":
            try:
                from prefect_dask.task_runners import DaskTaskRunner
            except ImportError as error:
                raise FlowError(
                    "Dask is not installed",
                    where=f"{_KEY}.kind",
                    found=str(error),
                    hint="pip install 'transferflow[dask]'",
                ) from error
            runner: TaskRunner[Any] = DaskTaskRunner(address=address)
            return runner
        case _:
            assert_never(place)
