import os
import subprocess
import sys
from pathlib import Path

import pytest
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from prefect.client.schemas.objects import State, StateType
from prefect.settings import PREFECT_API_URL
from transferflow.pipelines import poll as poll_module
from transferflow.pipelines.deployments import deploy_specs
from transferflow.pipelines.project import find_project, spec_digest
from transferflow.pipelines.refresh import refresh
from transferflow.pipelines.summary import look_page
from transferflow.pipelines.wanted import Target
from transferflow.pipelines.work_pools import POLL_COMMAND

from transferflow.spec.load import load_spec
from transferflow.stages.context import RunContext
from transferflow.stages.refresh.decide import DataChange, DriftFound, RefreshDecision
from transferflow.stages.refresh.look import Look
from transferflow.store.locks import KeyLock


def test_a_page_says_decision_reason_and_what_is_new():
    change = DataChange(100, added=3, changed=3, new_per_class={"a|b": 1, "c": 2})
    page = look_page("my-spec", Look(RefreshDecision("train", "3 added: enough"), change, is_news=True))
    assert page.startswith("# my-spec: train\n\n3 added: enough")
    assert "| added | 3 |" in page
    assert page.endswith("| c | 2 |\n| a\\|b | 1 |")


def test_a_page_says_how_far_the_new_images_have_drifted():
    drift = DriftFound(500, 43, 200, 0.123456, 0.001, "models:/a|b/3")
    change = DataChange(100, added=43, changed=43, drift=drift)
    page = look_page("my-spec", Look(RefreshDecision("train", "43 added"), change, is_news=True))
    assert "| MMD² of the champion's features | 0.1235 |\n| p-value | 0.001 |" in page
    assert "| new images looked at | 43 |" in page
    assert "| champion | models:/a\\|b/3 |" in page
    unknown = DataChange(
        100, added=1, changed=1, drift=DriftFound(500, note="no version of x is the champion")
    )
    page = look_page("my-spec", Look(RefreshDecision("nothing", "1 added"), unknown, is_news=True))
    assert "drift was not measured: no version of x is the champion." in page


POLL = """
import os, sys
from transferflow.pipelines import poll
ended = poll.tell_if_nothing_to_do(os.environ)
heavy = {"prefect", "torch", "numpy", "pyarrow", "mlflow"} & set(sys.modules)
assert not heavy, heavy
"""


def poll(client, project, home):
    """Begin a run of the refresh's deployment as a worker would; gives the run after it."""
    path = Path("fresh.yaml")
    target = Target(load_spec(path), str(path), "gpu", spec_digest(path), "v1")
    deploy_specs([target], find_project(project, "polled"), {"home": str(home)})
    deployment = client.read_deployment_by_name("refresh/polled.fresh")
    assert deployment.job_variables["command"] == POLL_COMMAND
    run = client.create_flow_run_from_deployment(deployment.id)
    client.set_flow_run_state(run.id, State(type=StateType.PENDING), force=True)
    settings = {"PREFECT_API_URL": str(PREFECT_API_URL.value()), "PREFECT__FLOW_RUN_ID": str(run.id)}
    done = subprocess.run(
        [sys.executable, "-c", POLL], env=os.environ | settings, cwd="/", capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return client.read_flow_run(run.id)


@pytest.mark.slow
def test_it_trains_rests_and_stops(project, client, tmp_path):
    rule = "deployment: {refresh: {poll: '0 * * * *', settle_minutes: 0.0}}\n"
    spec = project / "fresh.yaml"
    spec.write_text(Path("tiny.yaml").read_text().split("deployment:")[0].replace("tiny", "fresh") + rule)
    home = tmp_path / "home"

    def run():
        return refresh(spec="fresh.yaml", home=str(home), return_state=True)

    with KeyLock(home, "refresh", "fresh").hold():
        assert run().name == "Busy"
    first = run()
    assert (first.name, "trained again, PROMOTE" in first.message) == ("Completed", True), first.message
    rests = run()
    assert (rests.type.value, rests.name) == ("COMPLETED", "NothingToDo")
    assert RunContext(home).registry.champion("fresh").version == 1
    polled = poll(client, project, home)
    assert (polled.state.name, polled.state.message) == ("NothingToDo", rests.message)
    assert polled.start_time is not None

    gone = sorted((project / "data").rglob("*.png"))[:10]
    content = {file: file.read_bytes() for file in gone}
    for file in gone:
        file.unlink()
    stopped, left = run(), poll(client, project, home)
    for file, data in content.items():
        file.write_bytes(data)
    assert left.state.type.value == "PENDING"  # what changed is left to the engine
    assert stopped.type.value == "FAILED"
    assert "10 of 36 images are gone" in stopped.message
    pages = client.read_artifacts(
        artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=["fresh-refresh"]))
    )
    titles = sorted(page.data.splitlines()[0] for page in pages)
    assert titles == ["# fresh: nothing", "# fresh: stop", "# fresh: train"]


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"PREFECT_API_URL": "file:///etc", "PREFECT__FLOW_RUN_ID": "1"},
        {"PREFECT_API_URL": "http://127.0.0.1:1/api", "PREFECT__FLOW_RUN_ID": "1"},
        {"PREFECT_CLIENT_CUSTOM_HEADERS": "{}"},
    ],
)
def test_a_poll_that_can_t_say_anything_becomes_the_engine(monkeypatch, environment):
    became = []
    monkeypatch.setattr(poll_module.os, "environ", environment)
    monkeypatch.setattr(poll_module.os, "execv", lambda file, words: became.append(words[1:]))
    poll_module.main()
    assert became == [["-m", "prefect.engine"]]
