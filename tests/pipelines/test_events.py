"""Events on a real server: a data set that is said to be refreshed, a verdict that is told."""

import http.server
import json
import threading
from pathlib import Path

import pytest
import yaml
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterDeploymentId
from prefect.events import emit_event
from prefect.events.schemas.automations import AutomationCore
from transferflow.pipelines.deployments import deploy_resume, deploy_specs
from transferflow.pipelines.events import emit_verdict
from transferflow.pipelines.project import Project, find_project, spec_digest
from transferflow.pipelines.status import read_status
from transferflow.pipelines.wanted import DATASET_REFRESHED, Target

from transferflow.cli.main import main
from transferflow.errors import FlowError
from transferflow.spec.load import load_spec
from transferflow.stages.outcome import StageOutcome

TEMPLATE = Path(__file__).parents[2] / "deploy" / "verdict-automation.yaml"
METRICS = {"metrics": {"accuracy": {"value": 0.75, "low": 0.7, "high": 0.8}}}


def decided(verdict, reused=False):
    summary = {
        "model": "tiny",
        "verdict": verdict,
        "version": 3,
        "reasons": ["better than version 2"],
        "aliases": ["champion"],
        "report": "/reports/tiny.html",
    }
    return (
        StageOutcome("evaluate", "e" * 64, "/e", reused, 1.0, METRICS),
        StageOutcome("register", "r" * 64, "/r", reused, 1.0, summary),
    )


@pytest.fixture
def mailbox():
    """A web server on loopback; gives its address, and what was posted to it."""
    posted = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            posted.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *words):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", posted
        server.shutdown()


@pytest.mark.slow
def test_the_template_sends_a_new_verdict_and_no_old_one(client, mailbox, wait_for):
    url, posted = mailbox
    block = CustomWebhookNotificationBlock(
        name="mailbox", url=url, json_data={"title": "{{subject}}", "text": "{{body}}"}
    )
    document = str(block.save("mailbox", overwrite=True))
    template = yaml.safe_load(TEMPLATE.read_text())
    template["actions"][0]["block_document_id"] = document
    automation = client.create_automation(AutomationCore.model_validate(template))
    try:
        emit_verdict("tiny", decided("HOLD", reused=True))
        emit_verdict("tiny", decided("PROMOTE"))
        [mail] = wait_for(lambda: posted, seconds=60)
    finally:
        client.delete_automation(automation)
    assert mail["title"] == "tiny version 3: PROMOTE"
    assert mail["text"].split("\n")[:2] == ["- better than version 2", "accuracy: 0.75"]
    assert "Report: /reports/tiny.html" in mail["text"]


def refreshed(path="tiny.yaml"):
    spec = load_spec(Path(path), ["deployment.refresh.poll=12h"])
    return Target(spec, path, "gpu", spec_digest(Path(path)), "v1")


@pytest.mark.slow
def test_a_data_set_that_is_said_to_be_refreshed_is_looked_at(project, client, wait_for):
    ours = find_project(project, "told")
    deploy_specs([refreshed()], ours, {})
    deployment = client.read_deployment_by_name("refresh/told.tiny")
    [automation] = client.read_resource_related_automations(f"prefect.deployment.{deployment.id}")
    [_, same] = deploy_specs([refreshed()], ours, {}).changes
    assert (same.kind, same.lines) == ("unchanged", ())

    client.pause_automation(automation.id)
    moved = automation.model_copy(update={"actions": [], "enabled": False})
    client.update_automation(
        automation.id, AutomationCore.model_validate(moved.model_dump(exclude={"owner_resource"}))
    )
    [_, shown] = deploy_specs([refreshed()], ours, {}, dry_run=True).changes
    assert shown.lines == (f"trigger: {DATASET_REFRESHED} of data",)
    assert deploy_specs([refreshed()], ours, {}).changes[1].kind == "updated"
    now = client.read_automation(automation.id)
    assert (now.enabled, len(now.actions)) == (False, 1)  # what an operator switched off stays off
    client.resume_automation(automation.id)

    def runs():
        of_it = FlowRunFilter(deployment_id=FlowRunFilterDeploymentId(any_=[deployment.id]))
        return [run for run in client.read_flow_runs(flow_run_filter=of_it) if not run.auto_scheduled]

    def tell():
        # The automation takes a moment to be known to the service that watches events.
        emit_event(DATASET_REFRESHED, {"prefect.resource.id": "transferflow.dataset.elsewhere"})
        emit_event(DATASET_REFRESHED, {"prefect.resource.id": "transferflow.dataset.data"})
        return runs()

    assert wait_for(tell, seconds=60)
    deploy_specs([Target(load_spec(Path("tiny.yaml")), "tiny.yaml", "gpu", "", "v1")], ours, {})
    assert client.read_resource_related_automations(f"prefect.deployment.{deployment.id}") == []


@pytest.mark.slow
def test_dead_runs_are_sent_on_by_a_deployment_that_no_deploy_calls_an_orphan(
    project, client, server, capsys
):
    assert main(["resume", "--deploy", "gpu"]) == 0
    ours = find_project(project)
    assert f"resume/{ours.name}.gpu: created, every 5m UTC" in capsys.readouterr().out
    assert main(["resume", "--deploy", "gpu"]) == 0
    assert "unchanged" in capsys.readouterr().out
    report = deploy_specs([refreshed()], ours, {}, prune=True)
    assert [each.kind for each in report.changes] == ["created", "created"]
    assert client.read_deployment_by_name(f"resume/{ours.name}.gpu")
    [standing] = [each for each in read_status() if each.name.startswith("resume/")]
    assert standing.problems == ()
    with pytest.raises(FlowError, match="another project's"):
        deploy_resume("gpu", Project(ours.name, "another", project))


@pytest.mark.slow
def test_the_flow_that_sends_dead_runs_on_finds_none(project, client):
    from transferflow.pipelines.resume import resume

    assert resume(return_state=True).message == "no run is dead"
