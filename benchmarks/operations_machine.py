"""A Prefect server and a worker of their own, and the runs of one spec per kind of disturbance."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.settings import PREFECT_API_URL, temporary_settings
from transferflow.pipelines.run_lock import run_lock

SPEC = """\
name: {kind}
task: {{kind: classification}}
data: {{format: image_folder, root: data, image_size: 48}}
backbone: {{source: timm, name: test_resnet, weights: none}}
training:
  {{epochs: {epochs}, batch_size: 16, workers: 0, device: cpu, max_restarts: 100,
    checkpoint: {{every_minutes: 0.01}}}}
evaluation: {{bootstrap: 0}}
deployment: {{gpus: 0, retries: 1000, refresh: {{poll: 12h, settle_minutes: 0.0}}}}
"""


class Machine:
    """A server, a worker, and the runs of one kind at a time."""

    def __init__(self, folder: Path, port: int, client: SyncPrefectClient) -> None:
        self.folder, self.port, self.client = folder, port, client
        self.server = self.worker = None
        self.settings = {
            "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
            "PREFECT_HOME": str(folder / "prefect"),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_WORKER_QUERY_SECONDS": "1",
            "TRANSFERFLOW_SLOTS": str(folder / "slots"),
            "DO_NOT_TRACK": "1",
        }

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        with (self.folder / "log.txt").open("ab") as log:
            command = [sys.executable, "-m", *words]
            return subprocess.Popen(
                command, env=os.environ | self.settings, cwd=self.folder, stdout=log, stderr=log
            )

    def start_server(self) -> None:
        self.server = self.start("prefect", "server", "start", "--no-ui", "--port", str(self.port))
        wait(lambda: is_healthy(self.settings["PREFECT_API_URL"]))

    def start_worker(self) -> None:
        self.worker = self.start("transferflow.cli.main", "worker", "--pool", "gpu", "--limit", "2")

    def home(self, kind: str) -> Path:
        return self.folder / "homes" / kind

    def begin(self, kind: str, epochs: int) -> FlowRun:
        """Deploy a spec of its own and let it run."""
        spec = self.folder / f"{kind}.yaml"
        spec.write_text(SPEC.format(kind=kind, epochs=epochs))
        words = ["deploy", str(spec), "--project", "kills", "--home", str(self.home(kind))]
        if self.start("transferflow.cli.main", *words).wait():
            raise SystemExit((self.folder / "log.txt").read_text())
        flow = "refresh" if kind == "refresh" else "train"
        deployment = self.client.read_deployment_by_name(f"{flow}/kills.{kind}")
        return self.client.create_flow_run_from_deployment(deployment.id)

    def epoch(self, kind: str) -> int:
        """The last epoch that is saved."""
        found = self.home(kind).glob("work/train/*/epoch-*")
        return max((int(path.name[6:10]) for path in found), default=0)

    def engine(self, kind: str, run: FlowRun) -> int:
        """The process that executes a run; 0 while there is none."""
        owner = re.search(r"process (\d+)", run_lock(self.home(kind), run.id).owner())
        return int(owner[1]) if owner else 0

    def state(self, run: FlowRun) -> State[Any] | None:
        return self.client.read_flow_run(run.id).state

    def has_ended(self, run: FlowRun) -> bool:
        state = self.state(run)
        return state is not None and state.is_final() and state.type is not StateType.CRASHED


def wait(look: Callable[[], object], seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while not look():
        if time.monotonic() > end:
            raise TimeoutError(look)
        time.sleep(0.2)


def is_healthy(url: str) -> bool:
    with suppress(OSError):
        return urllib.request.urlopen(f"{url}/health", timeout=5).status == 200
    return False


def children(pid: int) -> list[int]:
    threads = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(word) for thread in threads for word in thread.read_text().split()]


@contextmanager
def machine_in(folder: Path) -> Iterator[Machine]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}/api"
    with temporary_settings({PREFECT_API_URL: url}), get_client(sync_client=True) as client:
        machine = Machine(folder, port, client)
        machine.start_server()
        try:
            yield machine
        except BaseException:
            print((folder / "log.txt").read_text()[-8000:], file=sys.stderr)
            raise
        finally:
            for process in (machine.worker, machine.server):
                if process is not None:
                    process.terminate()
                    process.wait()
