import os
import socket
import subprocess
import sys
import time
import urllib.request

import numpy as np
import pytest
from PIL import Image

SPEC = """\
name: tiny
task: {kind: classification}
data: {format: image_folder, root: data, image_size: 32, split: {train: 0.6, val: 0.2, test: 0.2}}
backbone: {source: timm, name: test_resnet.r160_in1k, weights: none}
training: {epochs: 1, batch_size: 8, workers: 0}
evaluation: {bootstrap: 50}
deployment: {work_pool: gpu, schedule: {cron: "0 3 * * *", timezone: Europe/Berlin}}
"""


@pytest.fixture(scope="session", autouse=True)
def quiet_prefect():
    """No telemetry; nothing of the machine's own Prefect settings."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DO_NOT_TRACK", "1")
        patch.setenv("NO_ALBUMENTATIONS_UPDATE", "1")
        patch.delenv("PREFECT_API_URL", raising=False)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A folder with a tiny data set and its spec; also the working directory."""
    folder = tmp_path_factory.mktemp("project")
    rng = np.random.default_rng(0)
    for channel, name in enumerate(("red", "green", "blue")):
        (folder / "data" / name).mkdir(parents=True)
        for number in range(12):
            pixels = rng.integers(0, 80, (24, 24, 3)).astype("uint8")
            pixels[..., channel] += 150
            Image.fromarray(pixels).save(folder / "data" / name / f"{number}.png")
    (folder / "tiny.yaml").write_text(SPEC)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield folder


@pytest.fixture(scope="session")
def server_url(tmp_path_factory):
    """API of a real Prefect server with all of its services."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    home = tmp_path_factory.mktemp("prefect-server")
    command = [sys.executable, "-m", "prefect", "server", "start", "--no-ui", "--port", str(port)]
    quiet = {"PREFECT_HOME": str(home), "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1"}
    with (home / "server.log").open("wb") as log:
        process = subprocess.Popen(command, env=os.environ | quiet, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}/api"
    try:
        _wait_until_healthy(url, process)
        yield url
    finally:
        process.terminate()
        process.wait(30)


def _wait_until_healthy(url, process):
    end = time.monotonic() + 180
    while time.monotonic() < end:
        assert process.poll() is None, "the server ended"
        try:
            urllib.request.urlopen(f"{url}/health", timeout=5)
        except OSError:
            time.sleep(0.2)
        else:
            return
    raise TimeoutError(url)


@pytest.fixture
def server(server_url, tmp_path_factory):
    """Use the real server in this process."""
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker
    from prefect.settings import PREFECT_API_URL, PREFECT_LOCAL_STORAGE_PATH, temporary_settings

    storage = tmp_path_factory.mktemp("storage")
    with temporary_settings({PREFECT_API_URL: server_url, PREFECT_LOCAL_STORAGE_PATH: storage}):
        yield server_url
        # They keep their connection: another test may use another server.
        EventsWorker.drain_all(timeout=20)
        APILogWorker.drain_all(timeout=20)


@pytest.fixture
def client(server):
    """A client of the real server."""
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        yield client


@pytest.fixture
def start_worker(server, tmp_path):
    """Start a real `transferflow worker`; what a test has not ended ends with it."""
    settings = {
        "PREFECT_API_URL": server,
        "PREFECT_HOME": str(tmp_path / "worker"),
        "PREFECT_WORKER_QUERY_SECONDS": "1",
        "TRANSFERFLOW_SLOTS": str(tmp_path / "slots"),
    }
    command = [sys.executable, "-m", "transferflow.cli.main", "worker", "--pool", "gpu"]
    started = []

    def start():
        with (tmp_path / "worker.log").open("ab") as log:
            process = subprocess.Popen(
                command, env=os.environ | settings, cwd=tmp_path, stdout=log, stderr=log
            )
        started.append(process)
        return process

    yield start
    for process in started:
        process.terminate()  # nothing where it has ended
        process.wait(120)


@pytest.fixture
def wait_for():
    """Look until there is something, and give it."""

    def wait(look, seconds=240):
        end = time.monotonic() + seconds
        while not (found := look()):
            assert time.monotonic() < end, "nothing happened"
            time.sleep(0.5)
        return found

    return wait
