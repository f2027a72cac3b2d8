"""The MLflow run of a training that is under way: its points arrive once each, and register goes on with it.

It is told from others by its tag `points`, the identity of the spool that its points come from. How far it
has them is remembered beside the spool. Where that is in doubt (a try that was not answered, a kill between
sending and remembering) the run itself is asked what it has, before anything is sent again.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from transferflow.registry.mlflow_metrics import ship_points
from transferflow.registry.mlflow_registry import MlflowRegistry
from transferflow.registry.mlflow_run import begin_live, live_run
from transferflow.registry.mlflow_versions import experiment_of, versions_tagged
from transferflow.training.tracking.spool import Spool

if TYPE_CHECKING:
    from mlflow import MlflowClient


@dataclass(frozen=True)
class LiveRun:
    """How the run of a training is called.

    Attributes:
        model: Name of the model that it will be registered as.
        run_name: How the run is called in the registry's pages.
        train_key: Key of the train stage.
    """

    model: str
    run_name: str
    train_key: str


class MlflowLive:
    """Sends the points of one training.

    Args:
        registry: Where they go.
        run: How its run is called.
        spool: The points.
    """

    def __init__(self, registry: MlflowRegistry, run: LiveRun, spool: Spool) -> None:
        self._registry, self._run, self._spool = registry, run, spool
        self._experiment = self._run_id = ""
        self._is_registered = False

    @property
    def address(self) -> str:
        """What shows it; empty where it is registered already, and nothing more is sent."""
        location = self._registry.location
        if not self._run_id:
            return ""
        if self._registry.has_server:
            return f"{location}/#/experiments/{self._experiment}/runs/{self._run_id}"
        return f"mlflow ui --backend-store-uri {shlex.quote(location)}"

    def send(self) -> None:
        """Send what the run has not yet; a training that is registered already is not shown again.

        Raises:
            RegistryError: If the server refuses or does not answer.
            MachineError: If the disk is full and the like.
        """
        if self._is_registered:
            return
        with self._alone() as client:
            try:
                if not self._run_id:
                    self._begin(client)
                if not self._is_registered:
                    ship_points(client, self._run_id, self._spool, self._registry.place)
            except BaseException:
                self._run_id = ""  # the server may be another one when it is back, or the run be gone
                raise

    def close(self, *, finished: bool) -> None:
        """Say that the training has ended.

        Args:
            finished: Whether it came to its end.

        Raises:
            RegistryError: If the server refuses or does not answer.
            MachineError: If the disk is full and the like.
        """
        if self._run_id:
            with self._alone() as client:
                client.set_terminated(self._run_id, "FINISHED" if finished else "KILLED")

    def _begin(self, client: MlflowClient) -> None:
        run, spool = self._run, self._spool
        self._experiment = experiment_of(client, run.model, self._registry.artifacts(run.model))
        if live_run(client, self._experiment, spool.identity) is None:
            self._is_registered = bool(versions_tagged(client, run.model, "train_key", run.train_key))
        if not self._is_registered:
            self._run_id = begin_live(client, self._experiment, spool.identity, run.run_name, run.train_key)

    @contextmanager
    def _alone(self) -> Iterator[MlflowClient]:
        """Nobody else ships these points, and in a database without a server nobody else writes."""
        with self._registry.session() as client:
            if self._registry.has_server:
                with self._spool.shipping():
                    yield client
            else:
                with self._registry.writing(), self._spool.shipping():
                    yield client
