import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prefect.client.schemas.objects import State, StateType
from prefect.settings import PREFECT_API_URL, temporary_settings
from transferflow.pipelines.deployments import deploy_specs
from transferflow.pipelines.project import find_project, spec_digest
from transferflow.pipelines.status import RunStanding, Standing, decide_problems, describe_look
from transferflow.pipelines.wanted import Target

from transferflow.cli.main import main
from transferflow.spec.load import load_spec
from transferflow.stages.refresh.decide import RefreshDecision
from transferflow.stages.refresh.record import RefreshRecord, Trained

TRAIN = RefreshDecision("train", "3 added")
NOW = datetime(2026, 1, 2, 12, tzinfo=UTC)
GOOD = Standing("train/p.a", "gpu", 1, False, RunStanding("1", "Completed", "", ""), None)


def due(minutes_ago):
    return RunStanding("2", "Late", (NOW - timedelta(minutes=minutes_ago)).isoformat(), "")


@pytest.mark.parametrize(
    ("standing", "stopped", "problems"),
    [
        (GOOD, "", ()),
        (replace(GOOD, last=None, next=due(14)), "", ()),
        (replace(GOOD, next=due(16)), "", ("a run is late since 2026-01-02T11:44:00+00:00",)),
        (
            replace(GOOD, next=due(16), workers=0),
            "",
            ("a run is late since 2026-01-02T11:44:00+00:00: no worker of the pool gpu is online",),
        ),
        (
            replace(GOOD, last=RunStanding("1", "Crashed", "", "gone", failed=True)),
            "half is gone",
            ("its last run ended as Crashed: gone",),
        ),
        (GOOD, "half is gone", ("its refresh stopped: half is gone",)),
    ],
)
def test_what_needs_a_person_is_said_once(standing, stopped, problems):
    assert decide_problems(standing, (), stopped, NOW) == problems


@pytest.mark.parametrize(
    ("record", "said"),
    [
        (RefreshRecord(), ""),
        (RefreshRecord(decision=RefreshDecision("wait", "it is copied")), "wait: it is copied"),
        (RefreshRecord(decision=TRAIN), "train: 3 added"),
        (RefreshRecord(base="old", decision=TRAIN, trained=Trained("old", "")), "train: 3 added"),
        (
            RefreshRecord(base="old", decision=TRAIN, trained=Trained("new", "", "HOLD")),
            "trained, HOLD: 3 added",
        ),
    ],
)
def test_a_look_that_led_to_a_training_says_what_became_of_it(record, said):
    assert describe_look(record) == said


@pytest.mark.slow
def test_the_commands_show_runs_problems_and_logs(project, client, server, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("TRANSFERFLOW_SLOTS", str(tmp_path / "slots"))
    spec = project / "watched.yaml"
    refresh = "deployment: {refresh: {poll: '0 0 1 1 *'}, work_pool: gpu}\n"
    spec.write_text(
        Path("tiny.yaml").read_text().split("deployment:")[0].replace("tiny", "watched") + refresh
    )
    target = Target(load_spec(spec), "watched.yaml", "gpu", spec_digest(spec), "v1")
    names = [change.name for change in deploy_specs([target], find_project(project, "watch"), {}).changes]
    assert names == ["train/watch.watched", "refresh/watch.watched"]
    deployment = client.read_deployment_by_name(names[0])
    run = client.create_flow_run_from_deployment(deployment.id)
    for state in (StateType.PENDING, StateType.RUNNING):
        client.set_flow_run_state(run.id, State(type=state), force=True)
    client.set_flow_run_state(
        run.id, State(type=StateType.FAILED, name="Failed", message="no disk"), force=True
    )

    with temporary_settings({PREFECT_API_URL: server}):
        assert main(["status"]) == 1
        shown = capsys.readouterr().out
        assert "look at   train/watch.watched: its last run ended as Failed: no disk" in shown
        assert "place     cpu: free" in shown
        spec.write_text(spec.read_text().replace("epochs: 1", "epochs: 2"))
        assert main(["status", "--json"]) == 1
        document = json.loads(capsys.readouterr().out)
        rows = {row["name"]: row for row in document["deployments"]}
        assert (document["ok"], rows["train/watch.watched"]["last"]["state"]) == (False, "Failed")
        [problem] = rows["refresh/watch.watched"]["problems"]
        assert problem.startswith("its spec watched.yaml was changed since")
        said = spec.read_text()
        spec.write_text(said.replace("name: watched", "name: else"))
        assert main(["status"]) == 1
        assert "its spec watched.yaml is called else now, not watched" in capsys.readouterr().out
        spec.unlink()
        assert main(["status"]) == 1
        assert "its spec watched.yaml is gone; `transferflow deploy --prune`" in capsys.readouterr().out
        spec.write_text(said)
        for reference in (str(run.id), "watched", "watch.watched", "train/watch.watched"):
            assert main(["logs", reference]) == 0
            assert "state     Failed: no disk" in capsys.readouterr().out
        assert main(["logs", "nobody"]) == 1
        assert "no such run" in capsys.readouterr().err
