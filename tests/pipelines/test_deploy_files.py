"""What lies in deploy: each file is accepted by whoever will read it. The tests have no Docker daemon."""

import asyncio
import json
import shlex
import uuid
from importlib.resources import files
from pathlib import Path

import jsonschema
import pytest
import yaml
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import FlowRun
from prefect_docker.worker import DockerWorker, DockerWorkerJobConfiguration
from prefect_kubernetes.worker import KubernetesWorker, KubernetesWorkerJobConfiguration
from transferflow.pipelines.deployments import deploy_specs
from transferflow.pipelines.project import find_project
from transferflow.pipelines.wanted import Target, Wanted
from transferflow.pipelines.work_pools import POLL_COMMAND, Pool, own_job_variables

from transferflow.errors import FlowError
from transferflow.spec.load import load_spec

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
ALL = [{"count": -1, "capabilities": [["gpu"]]}]


def template(kind):
    return json.loads((DEPLOY / f"{kind}-job-template.json").read_text())


def variables_for(pool, gpus, found, flow="train"):
    bare = Wanted(flow, "p.s", "s.yaml", "v1", pool.name, {}, [], [], None, "", gpus=gpus)
    return own_job_variables(pool, bare, found)


def configuration(model, kind, values):
    found = asyncio.run(model.from_template_and_values(template(kind), values))
    found.prepare_for_flow_run(FlowRun(id=uuid.uuid4(), flow_id=uuid.uuid4(), name="tiny"))
    return found


@pytest.mark.slow
def test_a_kubernetes_job_gets_its_gpus_volume_and_tolerations(server):
    found = configuration(KubernetesWorkerJobConfiguration, "kubernetes", {"gpus": 2})
    pod = found.job_manifest["spec"]["template"]["spec"]
    [container] = pod["containers"]
    assert container["resources"]["limits"] == {"memory": "16Gi", "nvidia.com/gpu": 2}
    assert pod["tolerations"][0]["key"] == "nvidia.com/gpu"
    assert {each["name"] for each in container["volumeMounts"]} == {each["name"] for each in pod["volumes"]}
    assert pod["volumes"][0]["persistentVolumeClaim"] == {"claimName": "models"}
    assert found.job_manifest["spec"]["backoffLimit"] == 0  # a dead run is sent on by its number of retries
    environment = {each["name"]: each.get("value") for each in container["env"]}
    assert environment["PREFECT_FLOW_RUN_EXECUTE_SIGTERM_BEHAVIOR"] == "reschedule"


@pytest.mark.slow
def test_a_container_sees_all_gpus_and_the_locks_that_share_them(server):
    variables = variables_for(Pool("d", "docker", frozenset({"container_create_kwargs"})), 1, {})
    found = configuration(DockerWorkerJobConfiguration, "docker", variables)
    assert found.container_create_kwargs == {"device_requests": ALL}
    assert "/run/transferflow-slots:/run/transferflow-slots" in found.volumes
    assert found.env["TRANSFERFLOW_SLOTS"] == "/run/transferflow-slots"


@pytest.mark.parametrize("worker", [DockerWorker, KubernetesWorker])
def test_templates_say_nothing_that_their_worker_does_not_know(worker):
    ours = template(worker.type)["job_configuration"]
    assert set(ours) <= set(worker.get_default_base_job_template()["job_configuration"])


@pytest.mark.parametrize(
    ("kind", "gpus", "found", "wanted"),
    [
        ("process", 2, {"stream_output": False}, {"stream_output": False}),
        ("kubernetes", 2, {"gpus": 1, "memory": "8Gi"}, {"gpus": 2, "memory": "8Gi"}),
        ("kubernetes", 0, {}, {"gpus": 0}),
        ("docker", 0, {"container_create_kwargs": {"device_requests": ALL}}, {}),
        (
            "docker",
            1,
            {"container_create_kwargs": {"device_requests": "an operator's", "shm_size": "1g"}},
            {"container_create_kwargs": {"device_requests": "an operator's", "shm_size": "1g"}},
        ),
    ],
)
def test_job_variables_follow_the_spec_and_keep_what_an_operator_set(kind, gpus, found, wanted):
    pool = Pool("pool", kind, frozenset({"gpus", "container_create_kwargs"}))
    assert variables_for(pool, gpus, found) == wanted


def test_a_refresh_in_a_process_pool_begins_light_unless_an_operator_said_how():
    pool = Pool("pool", "process", frozenset({"command"}))
    assert variables_for(pool, 1, {}, "refresh") == {"command": POLL_COMMAND}
    assert variables_for(pool, 1, {"command": "mine"}, "refresh") == {"command": "mine"}


def test_a_template_without_gpus_is_refused_with_the_one_that_has_them():
    with pytest.raises(FlowError, match=r"no job variable `gpus`(?s:.*)kubernetes-job-template\.json"):
        variables_for(Pool("k8s", "kubernetes"), 1, {})
    assert variables_for(Pool("k8s", "kubernetes"), 0, {}) == {}


@pytest.mark.slow
def test_a_server_takes_the_templates_and_deploy_fills_them(project, client):
    for kind in ("docker", "kubernetes"):
        client.create_work_pool(WorkPoolCreate(name=kind, type=kind, base_job_template=template(kind)))
    ours = find_project(project, "containers")

    def deploy(pool, *overrides):
        spec = load_spec(Path("tiny.yaml"), ["deployment.schedule=null", f"name={pool}", *overrides])
        [change] = deploy_specs([Target(spec, "tiny.yaml", pool, "", "v1")], ours, {}).changes
        return change, client.read_deployment_by_name(f"train/containers.{pool}").job_variables

    assert deploy("kubernetes")[1] == {"stream_output": False, "gpus": 1}
    change, variables = deploy("kubernetes", "deployment.gpus=4")
    assert (change.lines, variables["gpus"]) == (("job variables: those that follow from its spec",), 4)
    assert deploy("kubernetes", "deployment.gpus=4")[0].kind == "unchanged"
    _, variables = deploy("docker")
    assert variables["container_create_kwargs"] == {"device_requests": ALL}


def test_the_compose_file_is_one():
    schema = files("check_jsonschema") / "builtin_schemas" / "vendor" / "compose-spec.json"
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    jsonschema.validate(compose, json.loads(schema.read_text()))
    named = {
        volume.partition(":")[0] for s in compose["services"].values() for volume in s.get("volumes", ())
    }
    assert {name for name in named if not name.startswith("$")} == set(compose["volumes"])
    for service in compose["services"].values():
        assert set(service.get("depends_on", ())) <= set(compose["services"])


def test_the_image_copies_what_is_there_and_runs_our_command():
    lines = (DEPLOY / "Dockerfile").read_text().replace("\\\n", " ").splitlines()
    copied = [word for line in lines if line.startswith("COPY") for word in shlex.split(line)[1:-1]]
    assert copied
    assert all((ROOT / name).exists() for name in copied)
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text().split()
    assert {f"!{name.removeprefix('./')}" for name in copied} <= set(ignored)
    command = json.loads(next(line for line in lines if line.startswith("CMD")).removeprefix("CMD"))
    assert command[:2] == ["transferflow", "worker"]
