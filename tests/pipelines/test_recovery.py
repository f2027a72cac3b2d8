import json
import os
import re
import signal
from pathlib import Path

import pytest
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterParentFlowRunId
from prefect.client.schemas.objects import State, StateType
from transferflow.pipelines.deployments import deploy_specs
from transferflow.pipelines.project import find_project, spec_digest
from transferflow.pipelines.recovery import RunFacts, decide_recovery, resume_runs
from transferflow.pipelines.run_lock import run_lock
from transferflow.pipelines.run_logs import read_logs
from transferflow.pipelines.wanted import Target

from transferflow.cli.main import main
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

    def deploy(name, *overrides, flow="train"):
        path = Path("tiny.yaml")
        target = Target(load_spec(path, overrides), str(path), "gpu", spec_digest(path), "v1")
        home = tmp_path / "home"
        parameters = {"home": str(home), "overrides": list(overrides) or None}
        deploy_specs([target], find_project(project, name), parameters)
        return client.read_deployment_by_name(f"{flow}/{name}.tiny"), home

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
    assert "1 time (deployment.retries: 0)" in state.message


@pytest.mark.slow
@pytest.mark.parametrize("states", [(CANCELLING,), (CANCELLING, CRASHED)])
def test_what_was_cancelled_stays_cancelled(client, dead_run, states):
    run, _ = dead_run("cancelled", states=states)
    assert [each.verb for each in resume_runs(0)] == ["cancel"]
    assert client.read_flow_run(run.id).state.type is StateType.CANCELLED
    assert resume_runs(0) == []


def epochs_done(client, run_id, home, starts, beyond=0):
    """How many epochs are saved, if a process of this start is at work and has saved more than so many."""
    run = client.read_flow_run(run_id)
    done = [int(path.name[6:10]) for path in home.glob("work/train/*/epoch-*")]
    return run.run_count == starts and max(done, default=0) > beyond and max(done)


def engine_of(home, run):
    return int(re.search(r"process (\d+)", run_lock(home, run.id).owner())[1])


def processes_below(pid):
    found = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, path.read_text().split()):
            found += [child, *processes_below(child)]
    return found


def trainer_of(engine):
    """The process in which the model is trained."""
    words = {pid: Path(f"/proc/{pid}/cmdline").read_text().split("\0") for pid in processes_below(engine)}
    return next(pid for pid, said in words.items() if said[3:4] == ["transferflow.stages.train.rank"])


@pytest.mark.slow
def test_a_run_goes_on_after_its_trainer_and_its_worker_died(
    client, deployed, start_worker, tmp_path, wait_for
):
    deployment, home = deployed("killed", "training.epochs=25", "deployment.schedule=null")
    run = client.create_flow_run_from_deployment(deployment.id)
    worker = start_worker()
    done = wait_for(lambda: epochs_done(client, run.id, home, starts=1))
    os.kill(trainer_of(engine_of(home, run)), signal.SIGKILL)
    assert wait_for(lambda: epochs_done(client, run.id, home, starts=1, beyond=done))  # the same start

    worker.terminate()
    assert worker.wait(120) == 0, (tmp_path / "worker.log").read_text()
    stopped = client.read_flow_run(run.id)
    assert stopped.state.name == "AwaitingRetry", (tmp_path / "worker.log").read_text()
    assert "start 2 of 4" in (tmp_path / "worker.log").read_text()

    start_worker()
    ended = wait_for(lambda: (r := client.read_flow_run(run.id)).state.is_final() and r)
    assert (ended.state.name, ended.run_count) == ("Completed", 2), (tmp_path / "worker.log").read_text()
    [history] = home.glob("artifacts/train/*/history.json")
    assert len(json.loads(history.read_text())["epochs"]) == 25
    crash = "the process of device 0 was ended by SIGKILL; training goes on from the last checkpoint"
    assert any(line.message.startswith(crash) for line in read_logs(str(run.id))[1])


@pytest.mark.slow
def test_a_refresh_goes_on_after_its_engine_died_and_the_next_poll_rests(
    client, deployed, start_worker, tmp_path, wait_for
):
    rule = (
        "training.epochs=25",
        "deployment.schedule=null",
        "deployment.refresh={poll: 12h, settle_minutes: 0.0}",
    )
    deployment, home = deployed("refreshed", *rule, flow="refresh")
    run = client.create_flow_run_from_deployment(deployment.id)
    start_worker()
    done = wait_for(lambda: epochs_done(client, run.id, home, starts=1))
    os.kill(engine_of(home, run), signal.SIGKILL)
    wait_for(lambda: client.read_flow_run(run.id).state.type is CRASHED)
    wait_for(lambda: resume_runs(10))  # Prefect's worker must have let go of it
    assert wait_for(lambda: epochs_done(client, run.id, home, starts=2, beyond=done))
    ended = wait_for(lambda: (r := client.read_flow_run(run.id)).state.is_final() and r)
    assert "trained again, PROMOTE" in (ended.state.message or ""), (tmp_path / "worker.log").read_text()
    assert any(line.message.startswith("train: done in") for line in read_logs(str(run.id))[1])
    trainings = client.read_flow_runs(
        flow_run_filter=FlowRunFilter(parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[run.id]))
    )
    assert sorted(each.state.name for each in trainings) == ["Completed", "Crashed"]

    words = [word for each in rule for word in ("--set", each)]
    assert main(["refresh", "tiny.yaml", "--home", str(home), *words]) == 0  # notes what it has seen
    poll = client.create_flow_run_from_deployment(deployment.id)
    rests = wait_for(lambda: (r := client.read_flow_run(poll.id)).state.is_final() and r)
    assert rests.state.name == "NothingToDo"
    lines = wait_for(lambda: read_logs(str(poll.id))[1])
    assert {line.name for line in lines} == {"prefect.flow_runs.worker"}  # there was no engine


@pytest.mark.slow
def test_a_run_that_is_cancelled_stops_and_keeps_its_checkpoint(
    client, deployed, start_worker, tmp_path, wait_for
):
    deployment, home = deployed("stopped", "training.epochs=100000", "deployment.schedule=null")
    run = client.create_flow_run_from_deployment(deployment.id)
    worker = start_worker()
    wait_for(lambda: epochs_done(client, run.id, home, starts=1))
    engine = engine_of(home, run)
    trainer = trainer_of(engine)
    client.set_flow_run_state(run.id, State(type=CANCELLING))
    # An engine that did not hear why it was ended says Crashed, until its worker says what it was.
    wait_for(lambda: client.read_flow_run(run.id).state.name == "Cancelled", seconds=60)
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in (engine, trainer)), seconds=30)
    worker.terminate()
    assert worker.wait(120) == 0
    assert resume_runs(0) == []  # it stays so
    ended = client.read_flow_run(run.id)
    assert (ended.state.name, ended.run_count) == ("Cancelled", 1), (tmp_path / "worker.log").read_text()
    assert list(home.glob("work/train/*/epoch-*"))
