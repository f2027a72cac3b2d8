"""Prefect's server and MLflow's registry on a real PostgreSQL: one spec is deployed, run and promoted."""

import getpass
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, temporary_settings
from transferflow.pipelines.deployments import deploy_specs
from transferflow.pipelines.project import find_project, spec_digest
from transferflow.pipelines.wanted import Target

from transferflow.spec.load import load_spec
from transferflow.stages.context import RunContext

USER = "postgres" if os.getuid() == 0 else getpass.getuser()  # PostgreSQL refuses to run as root


def binaries():
    """Folder of PostgreSQL's own commands: Debian keeps them out of the path."""
    found = shutil.which("initdb")
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return debian[-1].parent if debian else Path(found).parent if found else None


BIN = binaries()
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BIN is None, reason="there is no PostgreSQL: apt-get install postgresql"),
]


def as_owner(*command):
    subprocess.run(list(map(str, command)), user=USER, cwd="/", check=True, stdout=subprocess.DEVNULL)


@pytest.fixture
def postgres():
    """A server on loopback that trusts everybody, with two databases; gives its port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))
    shutil.chown(folder, USER)
    data = folder / "data"
    as_owner(BIN / "initdb", "-D", data, "-U", USER, "--auth=trust", "--no-sync")
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
    as_owner(BIN / "pg_ctl", "-D", data, "-l", folder / "log", "-o", options, "-w", "start")
    try:
        for name in ("prefect", "mlflow"):
            as_owner(BIN / "createdb", "-h", folder, "-p", port, "-U", USER, name)
        yield port
    finally:
        as_owner(BIN / "pg_ctl", "-D", data, "-m", "immediate", "stop")
        shutil.rmtree(folder)


@pytest.fixture
def commands(tmp_path):
    """Start a command of this environment with further settings; all are ended after the test."""
    running = []

    def start(name, settings, *words):
        with (tmp_path / f"{name}.log").open("wb") as log:
            command = [sys.executable, "-m", *words]
            running.append(subprocess.Popen(command, env=os.environ | settings, stdout=log, stderr=log))
        return running[-1]

    yield start
    for process in reversed(running):
        process.terminate()
        process.wait(120)


def healthy(url):
    with get_client(httpx_settings={"timeout": 5}, sync_client=True) as client:
        return client.api_healthcheck() is None


def test_a_spec_is_deployed_run_and_promoted(project, postgres, commands, tmp_path, wait_for):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}/api"
    address = f"{USER}@127.0.0.1:{postgres}"
    database = {
        "PREFECT_API_DATABASE_CONNECTION_URL": f"postgresql+asyncpg://{address}/prefect",
        "PREFECT_HOME": str(tmp_path / "server"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    }
    commands("server", database, "prefect", "server", "start", "--no-ui", "--port", str(port))
    with temporary_settings({PREFECT_API_URL: url}), get_client(sync_client=True) as client:
        wait_for(lambda: healthy(url), 180)
        spec = load_spec(Path("tiny.yaml"), ["deployment.schedule=null"])
        target = Target(spec, "tiny.yaml", "gpu", spec_digest(Path("tiny.yaml")), "v1")
        home = tmp_path / "home"
        ours = find_project(project, "postgres")
        parameters = {"home": str(home), "overrides": ["deployment.schedule=null"]}
        assert deploy_specs([target], ours, parameters).changes[0].kind == "created"
        assert deploy_specs([target], ours, parameters).changes[0].kind == "unchanged"
        deployment = client.read_deployment_by_name("train/postgres.tiny")
        run = client.create_flow_run_from_deployment(deployment.id)
        registry = f"postgresql://{address}/mlflow"
        settings = {
            "PREFECT_API_URL": url,
            "PREFECT_HOME": str(tmp_path / "worker"),
            "PREFECT_WORKER_QUERY_SECONDS": "1",
            "TRANSFERFLOW_SLOTS": str(tmp_path / "slots"),
            "MLFLOW_TRACKING_URI": registry,
        }
        commands("worker", settings, "transferflow.cli.main", "worker", "--pool", "gpu")
        ended = wait_for(lambda: (r := client.read_flow_run(run.id)).state.is_final() and r)
        assert ended.state.name == "Completed", (tmp_path / "worker.log").read_text() + str(ended.state)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", registry)
        champion = RunContext(home).registry.champion("tiny")
    assert (champion.model, champion.version) == ("tiny", 1)
