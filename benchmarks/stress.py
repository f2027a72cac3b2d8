"""Faults of the machine, again and again, on whole runs of a tiny spec through the command line.

    python benchmarks/stress.py pairs --times 20     two equal runs at once: one waits and reuses
    python benchmarks/stress.py kills --times 20     SIGKILL at a random time, then the same command
    python benchmarks/stress.py names --times 8      specs that register under one name at once
    python benchmarks/stress.py damage --part 0/4    each file of a finished home, damaged in five ways

Prints JSON: how often each thing happened, and what went wrong, which should be nothing.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm  # noqa: F401  loaded before the fork, as all that follows: each start would take seconds
import torch
from damages import DAMAGES
from kills import draw_images
from mlflow.store.tracking import sqlalchemy_store  # noqa: F401

from transferflow.cli.main import main as transferflow
from transferflow.stages.register import promote  # noqa: F401
from transferflow.stages.train import fit  # noqa: F401

SPEC = """
name: {name}
task: {{kind: classification}}
data: {{format: image_folder, root: {root}, image_size: 32}}
backbone: {{source: timm, name: test_resnet, weights: none}}
head: {{dropout: 0.3}}
training:
  {{epochs: {epochs}, batch_size: 12, workers: 0, device: cpu, seed: {seed},
  checkpoint: {{every_minutes: 0.002}}}}
evaluation: {{bootstrap: 200}}
registration: {{model: stressed}}
"""
FOREIGN_LINES = 15


@dataclass(frozen=True)
class Run:
    """A command under way."""

    process: int
    output: Path

    def end(self) -> tuple[int, str]:
        """Wait for it; its exit code and what it said."""
        _, status = os.waitpid(self.process, 0)
        return os.waitstatus_to_exitcode(status), self.output.read_text(errors="replace")


class Bench:
    """A data set, and homes to run specs in."""

    def __init__(self, folder: Path, epochs: int) -> None:
        self.folder, self.epochs = folder, epochs
        self.faults: list[str] = []
        self._started = 0
        draw_images(folder / "images", 90)

    def start(self, home: str, *, name: str = "stressed", seed: int = 0) -> Run:
        """Start `transferflow run` in a child."""
        self._started += 1
        spec, output = (self.folder / f"{self._started}.{kind}" for kind in ("yaml", "txt"))
        spec.write_text(SPEC.format(name=name, root=self.folder / "images", epochs=self.epochs, seed=seed))
        child = os.fork()
        if child:
            return Run(child, output)
        code = 99
        try:
            stream = os.open(output, os.O_WRONLY | os.O_CREAT)
            os.dup2(stream, 1)
            os.dup2(stream, 2)
            code = transferflow(["run", str(spec), "--no-prefect", "--home", str(self.folder / home)])
            sys.stdout.flush()
        finally:
            os._exit(code)

    def expect(self, holds: bool, case: str, said: str = "") -> None:
        """Note a fault unless it holds."""
        if not holds:
            self.faults.append(f"{case}: {' / '.join(said.splitlines()[-FOREIGN_LINES:])}")

    def weights(self, home: str) -> list[str]:
        """sha256 of the trained weights."""
        files = sorted((self.folder / home).glob("artifacts/train/*/weights.safetensors"))
        return [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]

    def versions(self, home: str) -> dict[int, tuple[str | None, list[str]]]:
        """Verdict and aliases of each registered version."""
        with closing(sqlite3.connect(self.folder / home / "mlflow" / "mlflow.db")) as database:
            numbers = [n for (n,) in database.execute("SELECT version FROM model_versions")]
            verdicts = dict(
                database.execute(
                    "SELECT version, value FROM model_version_tags WHERE key = 'transferflow.verdict'"
                )
            )
            aliases = database.execute("SELECT version, alias FROM registered_model_aliases").fetchall()
        return {n: (verdicts.get(n), [a for v, a in aliases if v == n]) for n in numbers}


def pairs(bench: Bench, times: int, draw: random.Random) -> dict[str, Any]:
    """Two equal runs at once."""
    found: Counter[str] = Counter()
    for number in range(times):
        home = f"pair-{number}"
        first = bench.start(home)
        time.sleep(draw.choice([0, draw.uniform(0, 2)]))
        second = bench.start(home)
        for code, said in (first.end(), second.end()):
            bench.expect(code == 0, f"pair {number} ended with {code}", said)
            found["waited"] += "waiting for process" in said
            found["reused"] += "train: reused" in said
        bench.expect(len(bench.weights(home)) == 1, f"pair {number}: trainings")
        bench.expect(len(bench.versions(home)) == 1, f"pair {number}: versions")
        shutil.rmtree(bench.folder / home)
    return {"pairs": times, **found}


def kills(bench: Bench, times: int, draw: random.Random) -> dict[str, Any]:
    """A whole run that is killed once, and the same command after it."""
    started = time.perf_counter()
    code, said = bench.start("whole").end()
    bench.expect(code == 0, "undisturbed", said)
    seconds, wanted = time.perf_counter() - started, bench.weights("whole")
    found: Counter[str] = Counter()
    for number in range(times):
        home = f"killed-{number}"
        run = bench.start(home)
        time.sleep(draw.uniform(0, seconds))
        os.kill(run.process, signal.SIGKILL)
        code, said = run.end()
        stages = [stage for stage in ("prepare", "train", "evaluate") if f"{stage}: done" in said]
        found[f"killed after {stages[-1] if stages else 'nothing'}" if code else "was done before"] += 1
        code, said = bench.start(home).end()
        bench.expect(code == 0, f"after kill {number}", said)
        found["same bits"] += bench.weights(home) == wanted
        found["one version with a verdict"] += [v for v, _ in bench.versions(home).values()] == ["PROMOTE"]
        shutil.rmtree(bench.folder / home)
    return {"kills": times, "seconds_undisturbed": round(seconds, 1), **found}


def names(bench: Bench, times: int, draw: random.Random) -> dict[str, Any]:
    """Specs with seeds of their own that register under one name at once."""
    runs = [bench.start("shared", name=f"stressed-{n}", seed=n) for n in range(times)]
    for number, run in enumerate(runs):
        code, said = run.end()
        bench.expect(code == 0, f"spec {number} ended with {code}", said)
    versions = bench.versions("shared")
    champions = [n for n, (_, aliases) in versions.items() if "champion" in aliases]
    bench.expect(len(versions) == times, f"{len(versions)} versions")
    bench.expect(len(champions) == 1, f"champions: {champions}")
    bench.expect(all(verdict for verdict, _ in versions.values()), "a version without a verdict")
    return {"specs": times, "verdicts": Counter(verdict for verdict, _ in versions.values())}


def damage(bench: Bench, part: str) -> dict[str, Any]:
    """Each file of a finished home, damaged; then the same command."""
    for _ in range(2):
        code, said = bench.start("home").end()
        bench.expect(code == 0, "undisturbed", said)
    wanted, home, whole = bench.weights("home"), bench.folder / "home", bench.folder / "whole"
    home.rename(whole)
    one, of = (int(number) for number in part.split("/"))
    files = sorted(file.relative_to(whole) for file in whole.rglob("*") if file.is_file())[one::of]
    found: Counter[str] = Counter()
    for file in files:
        for harm in DAMAGES:
            shutil.copytree(whole, home)
            harm(home / file)
            code, said = bench.start("home").end()
            case = f"{harm.__name__} {file} ended with {code}"
            bench.expect(code == 0 or (code == 1 and "error: " in said and "hint:" in said), case, said)
            bench.expect(code != 0 or bench.weights("home") == wanted, f"{case}: other weights", said)
            bench.expect(code != 0 or "stressed version 1 (champion" in said, f"{case}: version", said)
            found["healed" if code == 0 else "named"] += 1
            shutil.rmtree(home)
    return {"files": len(files), "damages": len(files) * len(DAMAGES), **found}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("fault", choices=("pairs", "kills", "names", "damage"))
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--part", default="0/1", help="which part of the files, as in 0/4")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    draw = random.Random(args.seed)
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), args.epochs)
        started = time.perf_counter()
        match args.fault:
            case "pairs":
                found = pairs(bench, args.times, draw)
            case "kills":
                found = kills(bench, args.times, draw)
            case "names":
                found = names(bench, args.times, draw)
            case _:
                found = damage(bench, args.part)
        found |= {"seconds": round(time.perf_counter() - started, 1), "faults": bench.faults}
    json.dump({"settings": vars(args), **found}, sys.stdout, indent=2)
    print()


if __name__ == "__main__":
    main()
