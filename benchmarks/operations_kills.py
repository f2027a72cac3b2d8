"""Kill deployed runs on a real Prefect server and worker, and see that they come to the same end.

    python benchmarks/operations_kills.py --kills 20 [--kinds trainer engine …]

Each kind has a run of its own, which is disturbed so often while it trains, and must end with the weights of
a run that was left alone. Prints JSON: kills, seconds from each kill to the next epoch that was saved, how
the run ended, and whether its weights have the same bits. `away` takes the server away for a minute.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from kills import draw_images
from operations_machine import Machine, children, machine_in, wait
from prefect.client.schemas.objects import FlowRun, State, StateType
from transferflow.pipelines.recovery import resume_runs
from transferflow.pipelines.run_logs import read_logs

KINDS = ("trainer", "engine", "worker", "both", "stop", "server", "cancel", "refresh", "away")
AWAY_SECONDS, AWAY_EPOCHS = 60.0, 600
GRACE_SECONDS = 10.0
"""Prefect's worker must have let go of a run before it is sent on."""


def trainer_of(engine: int) -> int:
    """The process in which the model is trained: the engine's child watches it."""
    for child in children(engine):
        for below in children(child):
            if "transferflow.stages.train.rank" in Path(f"/proc/{below}/cmdline").read_text():
                return below
    raise SystemExit(f"process {engine} trains nothing")


def kill(number: int, *pids: int) -> None:
    for pid in pids:
        if pid == 0:  # it would be this benchmark and all that it has started
            raise SystemExit("nobody executes the run")
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
    wait(lambda: (machine.engine(kind, run) and machine.epoch(kind)) or machine.has_ended(run))
    while len(seconds) < kills and not machine.has_ended(run):
        started = time.monotonic()
        disturb(machine, kind, run)
        at = machine.epoch(kind)  # what was killed may have saved another one with its last breath
        wait(lambda at=at: machine.epoch(kind) > at or machine.has_ended(run))
        seconds.append(time.monotonic() - started)
    wait(lambda: machine.has_ended(run), seconds=1200)
    ended, lines = read_logs(str(run.id))
    if ended.state is None or not ended.state.is_completed():
        print(*(line.message for line in lines[-40:]), sep="\n", file=sys.stderr)
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


def measure_away(machine: Machine, epochs: int) -> dict[str, Any]:
    """Take the server away for a minute while a run trains: how long epochs take, and what is lost."""
    run = machine.begin("away", epochs)
    wait(lambda: machine.epoch("away") > epochs // 4)
    assert machine.server is not None
    left = machine.epoch("away")
    machine.server.kill()
    machine.server.wait()
    time.sleep(AWAY_SECONDS)
    back = machine.epoch("away")
    machine.start_server()
    wait(lambda: machine.has_ended(run), seconds=1200)
    [history] = machine.home("away").glob("artifacts/train/*/history.json")
    seconds = [row["seconds"] for row in json.loads(history.read_text())["epochs"]]
    ended, lines = read_logs(str(run.id))
    told = {found[1] for line in lines if (found := re.search(r"epoch +(\d+)/", line.message))}
    return {
        "state": ended.state.name if ended.state else None,
        "epochs_meanwhile": back - left,
        "epoch_seconds_with_server": statistics.median(seconds[2:left]),
        "epoch_seconds_without": statistics.median(seconds[left + 1 : back]),
        "epoch_lines_on_the_server": f"{len(told)} of {epochs}",
    }


def weights_of(home: Path) -> str:
    files = list(home.glob("artifacts/train/*/weights.safetensors"))
    return hashlib.sha256(files[0].read_bytes()).hexdigest() if files else "none"


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
            elif kind == "away":
                result[kind] = measure_away(machine, AWAY_EPOCHS)
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
