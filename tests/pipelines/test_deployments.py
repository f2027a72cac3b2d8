import asyncio
import contextlib
import os
import re
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import ANY

import pytest
from prefect.client.schemas.actions import DeploymentUpdate
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterId,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateName,
    LogFilter,
    LogFilterFlowRunId,
)
from prefect.client.schemas.schedules import CronSchedule
from prefect.deployments.steps.core import run_steps
from prefect.settings import PREFECT_API_URL, temporary_settings
from transferflow.pipelines.deployments import Target, deploy_specs
from transferflow.pipelines.project import Project, find_project, spec_digest

from transferflow.cli.deploy import load_specs
from transferflow.cli.main import main
from transferflow.errors import FlowError, SpecError
from transferflow.spec.load import load_spec


def target(overrides=(), pool="gpu", path="tiny.yaml"):
    return Target(load_spec(Path(path), overrides), path, pool, spec_digest(Path(path)), "v1")


def deploy(*targets, project, **options):
    return deploy_specs(targets, project, {}, **options)


def test_without_a_server_that_stays_it_says_how_to_start_one(project):
    with pytest.raises(FlowError, match=r"prefect server start(?s:.*)PREFECT_API_URL"):
        deploy(target(), project=find_project(project))


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


def scheduled(client, deployment_id):
    return client.read_flow_runs(
        flow_run_filter=FlowRunFilter(
            state=FlowRunFilterState(name=FlowRunFilterStateName(any_=["Scheduled"]))
        ),
        deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[deployment_id])),
    )


@pytest.mark.slow
def test_a_deployed_spec_is_scheduled_and_run_by_a_worker(project, client, server, tmp_path, wait_for):
    ours = find_project(project, "run")
    report = deploy_specs([target()], ours, {"home": str(tmp_path / "home")})
    [created] = report.changes
    assert (created.name, created.kind, report.pools) == ("train/run.tiny", "created", {"gpu": ANY})
    assert created.schedule == "0 3 * * * Europe/Berlin"
    deployment = client.read_deployment_by_name("train/run.tiny")
    assert deployment.description == "Prepares, trains, evaluates and registers `tiny.yaml`."
    assert wait_for(lambda: scheduled(client, deployment.id))
    before = client.read_deployment(deployment.id)
    [same] = deploy_specs([target()], ours, {"home": str(tmp_path / "home")}).changes
    assert same.kind == "unchanged"
    assert client.read_deployment(deployment.id) == before

    run = client.create_flow_run_from_deployment(
        deployment.id, parameters={"overrides": ["deployment.gpus=0"]}
    )
    with worker(server, tmp_path):
        done = wait_for(lambda: (r := client.read_flow_run(run.id)).state.is_final() and r)
    assert (done.state.name, done.name) == ("Completed", "tiny"), (tmp_path / "worker.log").read_text()
    assert (tmp_path / "home" / "reports" / "tiny--override" / "version-1.html").exists()
    ours = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run.id]))
    lines = [line.message for line in client.read_logs(ours) if line.name == "transferflow"]
    assert any(line.startswith("train: done in") for line in lines)


@pytest.mark.slow
def test_what_an_operator_set_stays_and_only_what_differs_changes(project, client):
    ours = find_project(project, "operated")
    deploy(target(), project=ours)
    found = client.read_deployment_by_name("train/operated.tiny")
    [schedule] = found.schedules
    client.update_deployment_schedule(found.id, schedule.id, active=False)
    client.create_deployment_schedules(found.id, [(CronSchedule(cron="1 1 1 1 *"), True)])
    by_hand = {"job_variables": {"env": {"A": "1"}}, "tags": [*found.tags, "mine"], "concurrency_limit": 3}
    by_hand["parameters"] = {**found.parameters, "offline": True}
    client.update_deployment(found.id, DeploymentUpdate.model_validate(by_hand))
    assert deploy(target(), project=ours).changes[0].kind == "unchanged"

    later = target(["deployment.schedule.cron=0 4 * * *"])
    [shown] = deploy(later, project=ours, dry_run=True).changes
    assert shown.lines == ("schedule: 0 3 * * * Europe/Berlin → 0 4 * * * Europe/Berlin",)
    assert client.read_deployment(found.id).schedules[0].schedule.cron != "0 4 * * *"
    [done] = deploy(later, project=ours).changes
    assert (done.kind, done.schedule) == ("updated", "0 4 * * * Europe/Berlin (paused)")
    now = client.read_deployment(found.id)
    assert {each.schedule.cron: each.active for each in now.schedules} == {
        "0 4 * * *": False,
        "1 1 1 1 *": True,
    }
    assert (now.job_variables, now.parameters["offline"]) == ({"env": {"A": "1"}}, True)
    assert "mine" in now.tags
    assert now.global_concurrency_limit.limit == 3

    weekly = target(["deployment.schedule.interval=1w"])
    [done] = deploy(weekly, project=ours).changes
    assert (done.kind, done.schedule) == ("updated", "every 1w UTC (paused)")
    by_rule = target(["deployment.schedule.rrule=FREQ=DAILY;BYHOUR=3"])
    [done] = deploy(by_rule, project=ours).changes
    assert done.lines == ("schedule: every 1w UTC → FREQ=DAILY;BYHOUR=3 UTC",)
    assert deploy(by_rule, project=ours).changes[0].kind == "unchanged"
    deploy(target(["deployment.schedule=null"]), project=ours)
    assert [each.schedule.cron for each in client.read_deployment(found.id).schedules] == ["1 1 1 1 *"]


@pytest.mark.slow
def test_another_project_s_deployment_is_not_touched(project, client, tmp_path):
    deploy(target(), project=Project("shared", "one", project))
    other = Project("shared", "two", tmp_path)
    with pytest.raises(FlowError, match=r"another project's(?s:.*)train/shared\.tiny;(?s:.*)--take-over"):
        deploy(target(), project=other)
    assert deploy(target(["name=else"]), project=other, prune=True).orphans == ()
    before = client.read_deployment_by_name("train/shared.tiny")
    assert deploy(target(), project=other, take_over=True).changes[0].kind == "updated"
    now = client.read_deployment(before.id)
    assert other.tag in now.tags
    assert Project("shared", "one", project).tag not in now.tags


@pytest.mark.slow
def test_a_spec_that_was_renamed_or_deleted_is_named_and_pruned(project, client):
    ours = find_project(project, "pruned")
    for name in ("gone", "other"):
        (project / f"{name}.yaml").write_text(Path("tiny.yaml").read_text().replace("tiny", name))
    deploy(target(), target(path="gone.yaml"), target(path="other.yaml"), project=ours)
    (project / "gone.yaml").unlink()
    report = deploy(target(["name=new"]), project=ours)
    assert [(each.name, each.why, each.schedule) for each in report.orphans] == [
        ("train/pruned.gone", "its spec gone.yaml is gone", "0 3 * * * Europe/Berlin"),
        ("train/pruned.tiny", "its spec tiny.yaml is called new now", "0 3 * * * Europe/Berlin"),
    ]
    kinds = [each.kind for each in deploy(target(["name=new"]), project=ours, prune=True).changes]
    assert kinds == ["unchanged", "removed", "removed"]
    left = {each.name for each in client.read_deployments() if each.name.startswith("pruned.")}
    assert left == {"pruned.new", "pruned.other"}
    (project / "other.yaml").unlink()

    refreshed = ["deployment.refresh.poll=0 * * * *", "name=new"]
    kinds = {each.name: each.kind for each in deploy(target(refreshed), project=ours).changes}
    assert kinds == {"train/pruned.new": "unchanged", "refresh/pruned.new": "created"}
    kinds = {each.name: each.kind for each in deploy(target(["name=new"]), project=ours).changes}
    assert kinds == {"train/pruned.new": "unchanged", "refresh/pruned.new": "removed"}


@pytest.mark.slow
def test_the_command_prints_what_changes(project, client, server, capsys):
    with temporary_settings({PREFECT_API_URL: server}):
        assert main(["deploy", "tiny.yaml", "--work-pool", "other", "--project", "shown"]) == 0
        shown = capsys.readouterr().out
        assert re.search(r"train/shown\.tiny +tiny\.yaml +other \(process, new\) .* created", shown)
        assert "transferflow worker --pool other" in shown
        assert main(["deploy", "tiny.yaml", "--work-pool", "other", "--project", "shown"]) == 0
        assert "nothing changed: 1 deployment as specified" in capsys.readouterr().out
        assert main(["deploy", "tiny.yaml", "--project", "No Name"]) == 1
        assert "not a valid name of a project" in capsys.readouterr().err
    assert client.read_work_pool("other").type == "process"


@pytest.mark.slow
def test_prefect_s_own_command_deploys_a_new_repository(project, client, server, tmp_path):
    deploy(target(), project=find_project(project, "pool"))  # makes the work pool
    folder = tmp_path / "models"
    assert main(["init-repo", str(folder)]) == 0
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"]
    settings = os.environ | {"PREFECT_API_URL": server, "PREFECT_HOME": str(tmp_path), "PWD": str(folder)}
    done = subprocess.run(command, cwd=folder, env=settings, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    made = client.read_deployment_by_name("train/example")
    assert made.parameters == {"spec": "specs/example.yaml"}
    assert made.pull_steps == [
        {"prefect.deployments.steps.set_working_directory": {"directory": str(folder)}}
    ]
    assert made.schedules[0].schedule.cron == "0 3 * * 1"


@pytest.mark.slow
def test_prefect_s_own_command_deploys_from_git_and_a_worker_clones_it(project, client, server, tmp_path):
    deploy(target(), project=find_project(project, "pool"))  # makes the work pool
    folder = tmp_path / "models"
    assert main(["init-repo", str(folder)]) == 0
    text = (folder / "prefect.yaml").read_text().replace("name: example", "name: from-git")
    local, git = (
        re.search(r"  - prefect[^#]*?\n(?=deployments)", text)[0],
        re.findall(r"  # ((?:- |  ).*)", text),
    )
    remote = "https://git.example.org/team/models.git"
    cloned = "".join(f"  {line}\n" for line in git).replace(remote, folder.as_uri())
    assert remote in text
    (folder / "prefect.yaml").write_text(text.replace(local, cloned))
    for words in (["init", "-qb", "main"], ["add", "."], ["commit", "-qm", "specs"]):
        who = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        subprocess.run(["git", *who, *words], cwd=folder, check=True)
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"]
    settings = os.environ | {"PREFECT_API_URL": server, "PREFECT_HOME": str(tmp_path)}
    done = subprocess.run(command, cwd=folder, env=settings, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    steps = client.read_deployment_by_name("train/from-git").pull_steps
    work = tmp_path / "work"
    work.mkdir()
    with contextlib.chdir(work):
        where = asyncio.run(run_steps(steps))["directory"]
        assert (work / where / "specs" / "example.yaml").is_file()
