"""A training that is watched on a real MLflow server, which is away, comes, hangs and comes back."""

import logging
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import pytest

from transferflow.registry.gate import Verdict, VerdictKind
from transferflow.registry.mlflow_registry import MlflowRegistry
from transferflow.stages.context import RunContext
from transferflow.stages.train import tracking
from transferflow.training.tracking.spool import Spool

SECONDS = 60


class Server:
    """A real MLflow server on loopback."""

    def __init__(self, folder):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.folder, self.process = folder, None

    def start(self):
        command = [sys.executable, "-m", "mlflow", "server", "--port", str(self.port), "--workers", "1"]
        command += ["--backend-store-uri", f"sqlite:///{self.folder}/server.db"]
        command += ["--artifacts-destination", str(self.folder / "served")]
        quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        log = (self.folder / "server.log").open("wb")
        self.process = subprocess.Popen(
            command, env=os.environ | quiet, stdout=log, stderr=log, cwd=self.folder, start_new_session=True
        )
        until(lambda: self.answers() or self.process.poll() is not None)
        assert self.process.poll() is None, "the server ended"

    def answers(self):
        try:
            return urllib.request.urlopen(f"{self.url}/health", timeout=1).status == 200
        except OSError:
            return False

    def signal(self, number):
        os.killpg(self.process.pid, number)

    def points(self, name):
        from mlflow import MlflowClient

        client = MlflowClient(self.url)
        experiment = client.get_experiment_by_name("colours")
        runs = client.search_runs([experiment.experiment_id]) if experiment else []
        assert len(runs) <= 1
        return [m.step for run in runs for m in client.get_metric_history(run.info.run_id, name)]


def until(holds):
    end = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.fixture
def server(tmp_path):
    made = Server(tmp_path)
    yield made
    if made.process is not None:
        made.signal(signal.SIGKILL)
        made.process.wait()


class Course:
    """What happens to the server at the end of each epoch."""

    def __init__(self, server, folder, caplog):
        self.server, self.folder, self.caplog = server, folder, caplog

    def on_start(self, epochs, steps, first_epoch): ...

    def on_step(self, epoch, step, loss, lr): ...

    def on_epoch(self, epoch, values):
        if epoch == 1:
            self.server.start()
            until(lambda: sorted(self.server.points("step/train_loss")) == [1, 2, 3, 4, 5, 6])
            time.sleep(1)  # the server has them: until whoever sent them has heard of it
        elif epoch == 2:
            self.server.signal(signal.SIGSTOP)  # it takes a connection, and never answers

    def on_end(self): ...


@pytest.mark.slow
def test_a_server_that_is_away_loses_nothing_and_ends_no_training(
    server, build_job, build_spec, make_entry, tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr(tracking, "PATIENCE_SECONDS", 0.0)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    context, key = RunContext(tmp_path / "home", server.url), "a" * 64
    job = build_job(settings={"epochs": 4}, hooks=[Course(server, tmp_path, caplog)])
    with caplog.at_level(logging.INFO, "transferflow.training"):
        tracking.train_watched(job, build_spec(), context, key)
    server.signal(signal.SIGCONT)
    lines = [record.getMessage() for record in caplog.records if "tracking" in record.getMessage()]
    assert "MLflow takes no points" in lines[0]
    assert any(line.startswith(f"tracking: MLflow shows this training: {server.url}/#/") for line in lines)
    assert "the register stage sends it" in lines[-1]

    registry = MlflowRegistry(context.home, server.url)
    entry = make_entry(model="colours", points=Spool(context.points(key)))
    registry.register(entry, Verdict(VerdictKind.HOLD, ()), None)
    assert sorted(server.points("step/train_loss")) == list(range(1, 13))
    assert sorted(server.points("epoch/train_loss")) == [0, 1, 2, 3]
