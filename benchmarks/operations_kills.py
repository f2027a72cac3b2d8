"""Kill deployed runs on a real Prefect server and worker, and see that they come to the same end.

    python benchmarks/operations_kills.py --kills 20 [--kinds trainer engine …]

Each kind has a run of its own, which is disturbed so often while it trains, and must end with the weights of
a run that was left alone. Prints JSON: kills, seconds from each kill to the next epoch that was saved, how
the run ended, and whether its weights have the same bits.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from kills import draw_images
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.settings import PREFECT_API_URL, temporary_settings
from transferflow.pipelines.recovery import resume_runs
from transferflow.pipelines.run_lock import run_lock

KINDS = ("trainer", "engine", "worker", "both", "stop", "server", "cancel", "refresh")
GRACE_SECONDS = 10.0
"""Prefect's worker must have let go of a run before it is sent on."""
SPEC = """\
name: {kind}
task: {{kind: classification}}
data: {{format: image_folder, root: data, image_size: 48}}
backbone: {{source: timm, name: test_resnet, weights: none}}
training: {{epochs: {epochs}, batch_size: 16, workers: 0, device: cpu, checkpoint: {{every_minutes: 0.01}}}}
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
        """The process that executes a run."""
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


def trainer_of(engine: int) -> int:
    """The process in which the model is trained: the engine's child watches it."""
    for child in children(engine):
        for below in children(child):
            if "transferflow.stages.train.rank" in Path(f"/proc/{below}/cmdline").read_text():
                return below
    raise SystemExit(f"process {engine} trains nothing")


def kill(number: int, *pids: int) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def disturb(machine: Machine, kind: str, run: FlowRun) -> None:
    """Do what the kind says, and start again what a service manager would."""
    worker, server = machine.worker, machine.server
    assert worker is not None
    assert server is not None
    match kind:
        case "trainer":
            kill(signal.SIGKILL, trainer_of(machine.engine(kind, run)))
        case "engine" | "refresh":
            kill(signal.SIGKILL, machine.engine(kind, run))
            wait(lambda: (state := machine.state(run)) and state.type is StateType.CRASHED)
            wait(lambda: resume_runs(GRACE_SECONDS))
        case "worker":
            kill(signal.SIGKILL, *children(worker.pid))  # ours starts Prefect's again
        case "both":
            kill(signal.SIGKILL, machine.engine(kind, run), *children(worker.pid), worker.pid)
            worker.wait()
            wait(lambda: resume_runs(GRACE_SECONDS))
            machine.start_worker()
        case "stop":
            worker.terminate()
            worker.wait()
            machine.start_worker()
        case "server":
            server.terminate()
            server.wait()
            time.sleep(3)
            machine.start_server()


def measure(machine: Machine, kind: str, kills: int, epochs: int, weights: str) -> dict[str, Any]:
    """Disturb one run so often, and let it end."""
    run = machine.begin(kind, epochs)
    seconds: list[float] = []
    wait(lambda: machine.epoch(kind) > 0 or machine.has_ended(run))
    while len(seconds) < kills and not machine.has_ended(run):
        at, started = machine.epoch(kind), time.monotonic()
        disturb(machine, kind, run)
        wait(lambda at=at: machine.epoch(kind) > at or machine.has_ended(run))
        seconds.append(time.monotonic() - started)
    wait(lambda: machine.has_ended(run), seconds=1200)
    ended = machine.client.read_flow_run(run.id)
    return {
        "kills": len(seconds),
        "seconds_median": round(statistics.median(seconds), 1) if seconds else None,
        "seconds_max": round(max(seconds), 1) if seconds else None,
        "state": ended.state.name if ended.state else None,
        "starts": ended.run_count,
        "same_weights": weights_of(machine.home(kind)) == weights,
    }


def measure_cancels(machine: Machine, kills: int, epochs: int) -> dict[str, Any]:
    """Cancel runs while they train: each must stop, stay cancelled, and keep its checkpoint."""
    states, seconds = [], []
    for _ in range(kills):
        run = machine.begin("cancel", epochs)
        wait(lambda run=run: machine.engine("cancel", run) and machine.epoch("cancel"))
        engine, started = machine.engine("cancel", run), time.monotonic()
        machine.client.set_flow_run_state(run.id, State(type=StateType.CANCELLING))
        wait(lambda run=run: machine.has_ended(run))
        wait(lambda engine=engine: not Path(f"/proc/{engine}").exists())
        seconds.append(time.monotonic() - started)
        resume_runs(0)
        state = machine.state(run)
        states.append(f"{state.name if state else None}, epoch {machine.epoch('cancel')} kept")
    return {"cancels": kills, "seconds_median": round(statistics.median(seconds), 1), "states": states}


def weights_of(home: Path) -> str:
    [file] = home.glob("artifacts/train/*/weights.safetensors")
    return hashlib.sha256(file.read_bytes()).hexdigest()


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


def run_all(folder: Path, kinds: Sequence[str], kills: int, epochs: int) -> dict[str, Any]:
    draw_images(folder / "data", 240)
    with machine_in(folder) as machine:
        reference = machine.begin("undisturbed", epochs)
        machine.start_worker()
        started = time.monotonic()
        wait(lambda: machine.has_ended(reference), seconds=1200)
        result: dict[str, Any] = {
            "epochs": epochs,
            "undisturbed_seconds": round(time.monotonic() - started, 1),
        }
        weights = weights_of(machine.home("undisturbed"))
        for kind in kinds:
            if kind == "cancel":
                result[kind] = measure_cancels(machine, kills, epochs)
            else:
                result[kind] = measure(machine, kind, kills, epochs, weights)
            print(kind, result[kind], file=sys.stderr, flush=True)
        return result


def main() -> None:
    """Kill and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        print(json.dumps(run_all(Path(name), arguments.kinds, arguments.kills, arguments.epochs), indent=2))


if __name__ == "__main__":
    main()
