import os
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterId,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateName,
    LogFilter,
    LogFilterFlowRunId,
)
from prefect.settings import PREFECT_API_URL, temporary_settings
from transferflow.pipelines.deployments import Target, deploy_specs

from transferflow.cli.deploy import load_specs
from transferflow.cli.main import main
from transferflow.errors import FlowError, SpecError
from transferflow.spec.load import load_spec


def target(overrides=(), pool="gpu"):
    return Target(load_spec(Path("tiny.yaml"), overrides), "tiny.yaml", pool)


def test_without_a_server_that_stays_it_says_how_to_start_one(project):
    with pytest.raises(FlowError, match=r"prefect server start(?s:.*)PREFECT_API_URL"):
        deploy_specs([target()], project, {})


def test_specs_are_found_checked_and_told_apart(project, tmp_path):
    text = (project / "tiny.yaml").read_text()
    (tmp_path / "base.yaml").write_text(text.replace("name: tiny\n", ""))
    (tmp_path / "a.yaml").write_text("extends: base.yaml\nname: a\n")
    (tmp_path / "b.yaml").write_text("extends: base.yaml\nname: b\n")
    assert [spec.name for spec in load_specs([tmp_path], ()).values()] == ["a", "b"]

    (tmp_path / "c.yaml").write_text("extends: base.yaml\nname: b\n")
    (tmp_path / "d.yaml").write_text("extends: base.yaml\nname: d\nhat: {}\n")
    with pytest.raises(SpecError, match=r"hat(?s:.*)two specs have this name(?s:.*)b\.yaml"):
        load_specs([tmp_path], ())
    (tmp_path / "empty").mkdir()
    with pytest.raises(SpecError, match="no specs found"):
        load_specs([tmp_path / "empty"], ())


@contextmanager
def worker(url, folder):
    """A real process worker of the pool `gpu`."""
    command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", "gpu", "--type", "process"]
    settings = {
        "PREFECT_API_URL": url,
        "PREFECT_HOME": str(folder / "worker"),
        "PREFECT_WORKER_QUERY_SECONDS": "1",
    }
    with (folder / "worker.log").open("wb") as log:
        process = subprocess.Popen(command, env=os.environ | settings, cwd=folder, stdout=log, stderr=log)
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()  # on a busy machine Prefect's worker now and then waits for itself
            process.wait()


def wait_for(look, seconds=240):
    end = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.5)
    return found


def scheduled(client, deployment_id):
    return client.read_flow_runs(
        flow_run_filter=FlowRunFilter(
            state=FlowRunFilterState(name=FlowRunFilterStateName(any_=["Scheduled"]))
        ),
        deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[deployment_id])),
    )


@pytest.mark.slow
def test_a_deployed_spec_is_scheduled_updated_and_run_by_a_worker(project, client, server, tmp_path):
    report = deploy_specs([target()], project, {})
    [created] = report.deployed
    assert (created.name, created.work_pool, created.change) == ("train/tiny", "gpu (process)", "created")
    assert created.schedule == "0 3 * * * Europe/Berlin"
    deployment = client.read_deployment_by_name("train/tiny")
    assert deployment.description == "Prepares, trains, evaluates and registers `tiny.yaml`."
    runs = wait_for(lambda: scheduled(client, deployment.id))
    assert {
        run.next_scheduled_start_time.astimezone(runs[0].next_scheduled_start_time.tzinfo) for run in runs
    }

    again = deploy_specs([target(["deployment.schedule=null"])], project, {"home": str(tmp_path / "home")})
    assert again.deployed[0].change == "updated"
    updated = client.read_deployment_by_name("train/tiny")
    assert updated.id == deployment.id
    assert updated.schedules == []
    assert scheduled(client, deployment.id) == []

    run = client.create_flow_run_from_deployment(updated.id)
    with worker(server, tmp_path):
        done = wait_for(lambda: (r := client.read_flow_run(run.id)).state.is_final() and r)
    assert (done.state.name, done.name) == ("Completed", "tiny"), (tmp_path / "worker.log").read_text()
    assert (tmp_path / "home" / "reports" / "tiny.html").exists()
    ours = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run.id]))
    lines = [line.message for line in client.read_logs(ours) if line.name == "transferflow"]
    assert any(line.startswith("train: done in") for line in lines)


@pytest.mark.slow
def test_the_command_prints_what_is_deployed_and_what_has_no_spec(project, client, server, capsys):
    deploy_specs([target(["name=gone"], "old")], project, {})
    assert client.read_work_pool("old").type == "process"
    with temporary_settings({PREFECT_API_URL: server}):
        assert main(["deploy", "tiny.yaml", "--work-pool", "other"]) == 0
    shown = capsys.readouterr().out
    assert "train/tiny" in shown
    assert "other (process)" in shown
    assert "train/gone has no spec here" in shown
    assert "prefect worker start --pool other" in shown
