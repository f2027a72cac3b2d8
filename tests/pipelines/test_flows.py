import json
import shutil
import time
from contextlib import nullcontext
from pathlib import Path
from urllib.request import urlopen

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterId,
    LogFilter,
    LogFilterFlowRunId,
)
from prefect.client.schemas.sorting import FlowRunSort, TaskRunSort
from prefect.logging.handlers import APILogWorker
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY as FREQUENCY
from transferflow.pipelines import flows
from transferflow.pipelines.flows import run_flow, train
from transferflow.pipelines.own_server import own_server
from transferflow.pipelines.server import check_health

from transferflow.errors import FlowError, SpecError
from transferflow.spec.load import load_spec
from transferflow.stages.context import RunContext
from transferflow.stages.run import run_plan

pytestmark = pytest.mark.slow
SPEC = Path("tiny.yaml")


def last_run(client):
    by_hand = FlowRunFilter(deployment_id=FlowRunFilterDeploymentId(is_null_=True))
    return client.read_flow_runs(flow_run_filter=by_hand, sort=FlowRunSort.START_TIME_DESC, limit=1)[0]


def step_states(client, run, expected=4):
    """Names of the steps' states; steps are recorded in the background."""
    only = FlowRunFilter(id=FlowRunFilterId(any_=[run.id]))
    for _ in range(100):
        steps = client.read_task_runs(flow_run_filter=only, sort=TaskRunSort.EXPECTED_START_TIME_ASC)
        if len(steps) == expected and all(step.state and step.state.is_final() for step in steps):
            break
        time.sleep(0.2)
    return {step.name.rpartition("-")[0]: step.state.name for step in steps}


def logs_of(client, run):
    APILogWorker.drain_all(timeout=20)
    found = client.read_logs(LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run.id])))
    return [line.message for line in found]


@pytest.fixture(scope="module")
def finished(project, tmp_path_factory):
    """A home in which the tiny spec was run without Prefect."""
    context = RunContext(tmp_path_factory.mktemp("home"))
    return context, run_plan(load_spec(SPEC), context)


def test_steps_are_cached_just_when_their_artifact_is_there(finished, client):
    context, before = finished
    again = run_flow(SPEC, [], context)
    assert [outcome.key for outcome in again] == [outcome.key for outcome in before]
    assert step_states(client, last_run(client)) == {
        "prepare": "Cached",
        "train": "Cached",
        "evaluate": "Cached",
        "register": "Cached",
    }

    shutil.rmtree(before[1].path)
    run_flow(SPEC, [], context)
    states = step_states(client, last_run(client))
    assert (states["prepare"], states["train"]) == ("Cached", "Completed")


def test_a_run_shows_logs_artifacts_and_results(finished, client):
    context, before = finished
    shutil.rmtree(before[1].path)
    outcomes = run_flow(SPEC, ["deployment.gpus=2"], context)

    run = last_run(client)
    assert (run.name, run.state.name) == ("tiny", "Completed")
    assert run.parameters["overrides"] == ["deployment.gpus=2"]
    assert any(line.startswith("epoch 1/1") for line in logs_of(client, run))

    only = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run.id]))
    by_key = {artifact.key: artifact.data for artifact in client.read_artifacts(artifact_filter=only)}
    rows = json.loads(by_key["tiny-stages"])
    assert [row["stage"] for row in rows] == ["prepare", "train", "evaluate", "register"]
    assert "| accuracy |" in by_key["tiny-summary"]
    assert run.state.result() == [outcome.to_json() for outcome in outcomes]  # read from a JSON file


def test_a_number_per_image_goes_through_the_flow(project, client):
    """Regression, from activations of a frozen backbone: errors are told in the unit of the column."""
    files = sorted((project / "data").rglob("*.png"))
    rows = [f"{file.relative_to(project)},{int(file.stem) / 1e6}" for file in files]
    (project / "sizes.csv").write_text("\n".join(["path,metres", *rows]))
    table = "format: csv, root: ., file: sizes.csv, columns: {label: metres},"
    text = (project / SPEC).read_text() + (
        "freeze: {policy: phases, phases: [{epochs: 1, train: [head]}]}\naugmentation: {preset: none}\n"
    )
    for old, new in (
        ("name: tiny", "name: sizes"),
        ("{kind: classification}", "{kind: regression}"),
        ("format: image_folder, root: data,", table),
        ("training: {epochs: 1", "training: {epochs: 3"),
    ):
        assert old in text
        text = text.replace(old, new)
    (project / "sizes.yaml").write_text(text)
    context = RunContext(project / "home-of-sizes")
    outcomes = run_flow(Path("sizes.yaml"), [], context)
    run = last_run(client)
    assert (run.name, run.state.name) == ("sizes", "Completed")
    assert context.activations.exists()
    only = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run.id]))
    page = {a.key: a.data for a in client.read_artifacts(artifact_filter=only)}["sizes-summary"]
    (row,) = [line for line in page.splitlines() if line.startswith("| mae |")]
    error = outcomes[2].summary["metrics"]["mae"]["value"]
    assert float(row.split("|")[2]) == pytest.approx(error, rel=1e-3)


def test_a_bad_spec_fails_the_run_with_its_message_and_no_traceback(project, client):
    with pytest.raises(SpecError, match=r"nothing\.yaml"):
        run_flow(Path("nothing.yaml"), [], RunContext(project / "home"))
    run = last_run(client)
    assert (run.name, run.state.name) == ("nothing", "Failed")
    assert "nothing.yaml: there is no such file" in run.state.message
    assert not any("Traceback" in line for line in logs_of(client, run))


def test_without_a_server_it_brings_its_own(finished):
    context, _ = finished
    with temporary_settings(restore_defaults={PREFECT_API_URL}):
        assert all(outcome.reused for outcome in run_flow(SPEC, [], context)[:3])
    folder = context.home / "prefect"
    with own_server(folder) as url, temporary_settings({PREFECT_API_URL: url}):
        check_health(url)
        with get_client(sync_client=True) as client:
            run = last_run(client)
            assert run.state.name == "Completed"
            assert step_states(client, run)["train"] == "Cached"
            assert any(line.startswith("train: reused") for line in logs_of(client, run))
            assert any("Finished in state Completed" in line for line in logs_of(client, run))
    with pytest.raises(OSError, match="refused"):
        urlopen(f"{url}/health", timeout=5)
    results = [json.loads(file.read_text()) for file in (folder / "storage").iterdir()]
    assert results


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/api", "nonsense"])
def test_a_server_that_is_not_there_is_said_in_words(project, url):
    with (
        temporary_settings({PREFECT_API_URL: url}),
        pytest.raises(FlowError, match=r"refused or did not answer(?s:.*)--no-prefect|prefect server start"),
    ):
        run_flow(SPEC, [], RunContext(project / "home"))


@pytest.mark.parametrize(("asked", "expected"), [({}, None), ({FREQUENCY: 60}, 60)])
def test_a_run_from_the_command_line_sends_no_heartbeats_unless_asked(tmp_path, monkeypatch, asked, expected):
    """Its end would wait for the thread that sends them."""
    seen = []
    monkeypatch.setattr(flows, "reachable_server", lambda folder, meanwhile: nullcontext())
    monkeypatch.setattr(flows, "train", lambda **inputs: seen.append(FREQUENCY.value()) or [])
    with temporary_settings(asked):
        run_flow(SPEC, [], RunContext(tmp_path))
    assert seen == [expected]


def test_its_parameters_can_be_typed_in_the_ui():
    properties = train.parameters.properties
    assert list(properties) == [
        "spec",
        "overrides",
        "home",
        "tracking_uri",
        "offline",
        "wait",
        "verify",
        "sha256",
        "promote",
    ]
    assert "working directory" in properties["spec"]["description"]
