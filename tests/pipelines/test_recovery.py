import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from prefect.client.schemas.objects import State, StateType
from transferflow.pipelines.deployments import deploy_specs
from transferflow.pipelines.project import find_project, spec_digest
from transferflow.pipelines.recovery import RunFacts, decide_recovery, resume_runs
from transferflow.pipelines.run_lock import run_lock
from transferflow.pipelines.wanted import Target

from transferflow.spec.load import load_spec

RUNNING, CRASHED, CANCELLING = StateType.RUNNING, StateType.CRASHED, StateType.CANCELLING


@pytest.mark.parametrize(
    ("facts", "verb"),
    [
        (RunFacts(RUNNING, 61, False, 1, 3), "send on"),
        (RunFacts(RUNNING, 59, False, 1, 3), "leave"),
        (RunFacts(RUNNING, 1e6, True, 1, 3), "leave"),
        (RunFacts(RUNNING, 1e6, None, 1, 3), "leave"),
        (RunFacts(RUNNING, 1e6, False, 1, 3), "send on"),
        (RunFacts(RUNNING, 61, False, 3, 3), "send on"),
        (RunFacts(RUNNING, 61, False, 4, 3), "fail"),
        (RunFacts(RUNNING, 61, False, 1, 0), "fail"),
        (RunFacts(CRASHED, 61, False, 1, 3), "send on"),
        (RunFacts(CRASHED, 61, False, 1, 3, is_superseded=True), "leave"),
        (RunFacts(RUNNING, 61, False, 1, 3, is_superseded=True), "send on"),
        (RunFacts(CRASHED, 25 * 3600, False, 1, 3), "leave"),
        (RunFacts(CRASHED, 61, False, 1, 3, was_cancelled=True), "cancel"),
        (RunFacts(CRASHED, 61, True, 1, 3, was_cancelled=True), "leave"),
        (RunFacts(CANCELLING, 61, False, 1, 3), "cancel"),
        (RunFacts(CANCELLING, 61, True, 1, 3), "leave"),
    ],
)
def test_only_what_is_surely_dead_is_touched(facts, verb):
    assert decide_recovery(facts) == verb


@pytest.fixture
def deployed(project, client, tmp_path):
    """Deploy the tiny spec with these overrides, below a home of its own; gives deployment and home."""

    def deploy(name, *overrides):
        path = Path("tiny.yaml")
        target = Target(load_spec(path, overrides), str(path), "gpu", spec_digest(path), "v1")
        home = tmp_path / "home"
        parameters = {"home": str(home), "overrides": list(overrides) or None}
        deploy_specs([target], find_project(project, name), parameters)
        return client.read_deployment_by_name(f"train/{name}.tiny"), home

    return deploy


@pytest.fixture
def dead_run(client, deployed):
    """A run that the server takes for running, or says these states of, and whose process is gone."""

    def make(name, *overrides, states=()):
        deployment, home = deployed(name, *overrides)
        run = client.create_flow_run_from_deployment(deployment.id)
        client.set_flow_run_state(run.id, State(type=StateType.PENDING), force=True)
        client.set_flow_run_state(run.id, State(type=StateType.RUNNING), force=True)
        for state in states:
            client.set_flow_run_state(run.id, State(type=state), force=True)
        with run_lock(home, run.id).hold():
            pass
        return run, home

    return make


@pytest.mark.slow
def test_a_run_without_a_process_is_sent_on_once(client, dead_run):
    run, home = dead_run("sent")
    with run_lock(home, run.id).hold():
        assert resume_runs(0) == []  # it lives
    assert resume_runs(60) == []
    [found] = resume_runs(0)
    assert (found.run_id, found.verb, found.starts, found.retries) == (run.id, "send on", 1, 3)
    state = client.read_flow_run(run.id).state
    assert (state.name, "goes on from its checkpoint, start 2" in state.message) == ("AwaitingRetry", True)
    assert resume_runs(0) == []
    client.delete_flow_run(run.id)


@pytest.mark.slow
def test_a_run_that_dies_too_often_fails_with_the_cause(client, dead_run):
    run, _ = dead_run("failing", "deployment.retries=0")
    assert [each.verb for each in resume_runs(0)] == ["fail"]
    state = client.read_flow_run(run.id).state
    assert state.type is StateType.FAILED
    assert "ended without a word" in state.message
    assert "1 times (deployment.retries: 0)" in state.message


@pytest.mark.slow
@pytest.mark.parametrize("states", [(CANCELLING,), (CANCELLING, CRASHED)])
def test_what_was_cancelled_stays_cancelled(client, dead_run, states):
    run, _ = dead_run("cancelled", states=states)
    assert [each.verb for each in resume_runs(0)] == ["cancel"]
    assert client.read_flow_run(run.id).state.type is StateType.CANCELLED
    assert resume_runs(0) == []


def start_worker(server, folder):
    """A real `transferflow worker`."""
    settings = {
        "PREFECT_API_URL": server,
        "PREFECT_HOME": str(folder / "worker"),
        "PREFECT_WORKER_QUERY_SECONDS": "1",
        "TRANSFERFLOW_SLOTS": str(folder / "slots"),
    }
    command = [sys.executable, "-m", "transferflow.cli.main", "worker", "--pool", "gpu"]
    with (folder / "worker.log").open("ab") as log:
        return subprocess.Popen(command, env=os.environ | settings, cwd=folder, stdout=log, stderr=log)


def epochs_done(client, run_id, home, starts, beyond=0):
    """How many epochs are saved, if a process of this start is at work and has saved more than so many."""
    run = client.read_flow_run(run_id)
    done = [int(path.name[6:10]) for path in home.glob("work/train/*/epoch-*")]
    return run.run_count == starts and max(done, default=0) > beyond and max(done)


@pytest.mark.slow
def test_a_run_goes_on_after_its_engine_and_its_worker_died(client, server, deployed, tmp_path, wait_for):
    deployment, home = deployed("killed", "training.epochs=25", "deployment.schedule=null")
    run = client.create_flow_run_from_deployment(deployment.id)
    worker = start_worker(server, tmp_path)
    done = wait_for(lambda: epochs_done(client, run.id, home, starts=1))
    engine = int(re.search(r"process (\d+)", run_lock(home, run.id).owner())[1])
    os.kill(engine, signal.SIGKILL)
    wait_for(lambda: client.read_flow_run(run.id).state.type is CRASHED)
    wait_for(lambda: resume_runs(10))  # Prefect's worker must have let go of it
    assert wait_for(lambda: epochs_done(client, run.id, home, starts=2, beyond=done))

    worker.terminate()
    assert worker.wait(120) == 0, (tmp_path / "worker.log").read_text()
    stopped = client.read_flow_run(run.id)
    assert stopped.state.name == "AwaitingRetry", (tmp_path / "worker.log").read_text()
    assert "start 3 of 4" in (tmp_path / "worker.log").read_text()

    worker = start_worker(server, tmp_path)
    ended = wait_for(lambda: (r := client.read_flow_run(run.id)).state.is_final() and r)
    worker.terminate()
    assert worker.wait(120) == 0
    assert (ended.state.name, ended.run_count) == ("Completed", 3), (tmp_path / "worker.log").read_text()
    [history] = home.glob("artifacts/train/*/history.json")
    assert len(json.loads(history.read_text())["epochs"]) == 25


@pytest.mark.slow
def test_a_run_that_is_cancelled_stops_and_keeps_its_checkpoint(client, server, deployed, tmp_path, wait_for):
    deployment, home = deployed("stopped", "training.epochs=100000", "deployment.schedule=null")
    run = client.create_flow_run_from_deployment(deployment.id)
    worker = start_worker(server, tmp_path)
    wait_for(lambda: epochs_done(client, run.id, home, starts=1))
    engine = int(re.search(r"process (\d+)", run_lock(home, run.id).owner())[1])
    client.set_flow_run_state(run.id, State(type=CANCELLING))
    # An engine that did not hear why it was ended says Crashed, until its worker says what it was.
    wait_for(lambda: client.read_flow_run(run.id).state.name == "Cancelled", seconds=60)
    wait_for(lambda: not Path(f"/proc/{engine}").exists(), seconds=30)
    worker.terminate()
    assert worker.wait(120) == 0
    assert resume_runs(0) == []  # it stays so
    ended = client.read_flow_run(run.id)
    assert (ended.state.name, ended.run_count) == ("Cancelled", 1), (tmp_path / "worker.log").read_text()
    assert list(home.glob("work/train/*/epoch-*"))
