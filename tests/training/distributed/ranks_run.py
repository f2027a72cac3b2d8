"""Trainings of a tiny model in ranks; for `test_launch.py`. Run by the elastic launch, a process for each."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from transferflow.training.distributed.rank import run_rank


def work(job, ranks):
    import toy

    folder = Path(job["folder"])
    folder.mkdir(exist_ok=True)
    (folder / f"pid-{ranks.rank}").write_text(str(os.getpid()))
    for name in job["cases"]:
        CASES[name](toy, folder, ranks)


def curve(toy, folder, ranks):
    toy.train_and_save(folder, "curve", ranks)


def goes_on(toy, folder, ranks):
    """In a folder in which one process began."""
    toy.train_and_save(folder, "goes_on", ranks)


def poisoned(toy, folder, ranks):
    from transferflow.errors import TrainingError

    try:
        toy.train_and_save(folder, "poisoned", ranks, poison=(1, 2))
    except TrainingError as error:
        if ranks.rank == 0:
            (folder / "poisoned.txt").write_text(str(error))


def killed(toy, folder, ranks):
    """Rank 1 is killed in the middle of an epoch, at the first attempt; who trains is watched."""

    class Kill:
        def on_step(self, epoch, step, loss, lr):
            if ranks.rank == 1 and (epoch, step) == (1, 1) and not (folder / "was_killed").exists():
                (folder / "was_killed").touch()
                os.kill(os.getpid(), signal.SIGKILL)

        def __getattr__(self, name):
            return lambda *_: None

    toy.train_and_save(folder, "killed", ranks, by=lambda job: watched(job, folder), hooks=[Kill()])


def watched(job, folder):
    from transferflow.spec import ExperimentSpec
    from transferflow.stages.context import RunContext
    from transferflow.stages.train.tracking import train_watched

    sections = {"name": "toy", "task": {"kind": "classification"}, "tracking": {"mlflow": True}}
    sections["data"] = {"format": "image_folder", "root": "."}
    sections["backbone"] = {"source": "timm", "name": "resnet18"}
    return train_watched(job, ExperimentSpec.model_validate(sections), RunContext(folder / "home"), "key")


def loses_node(toy, folder, ranks):
    """The command of rank 1's node is killed in the middle of an epoch, once, and takes its rank along."""

    class Kill:
        def on_step(self, epoch, step, loss, lr):
            if ranks.rank == 1 and (epoch, step) == (1, 1) and not (folder / "was_killed").exists():
                (folder / "was_killed").touch()
                agent = Path(f"/proc/{os.getppid()}/stat").read_text()
                os.kill(int(agent.rpartition(")")[2].split()[1]), signal.SIGKILL)
                signal.pause()

        def __getattr__(self, name):
            return lambda *_: None

    toy.train_and_save(folder, "loses_node", ranks, hooks=[Kill()])


def slow(toy, folder, ranks):
    """Goes on until somebody stops it."""
    import time

    class Sleep:
        def on_step(self, epoch, step, loss, lr):
            if epoch == 1:
                (folder / "slow.step").touch()
                time.sleep(0.3)

        def __getattr__(self, name):
            return lambda *_: None

    toy.train_and_save(folder, "slow", ranks, hooks=[Sleep()])


def crashes(toy, folder, ranks):
    if ranks.rank == 1:
        raise ZeroDivisionError("a bug in rank 1")
    ranks.total([1.0])


CASES = {case.__name__: case for case in (curve, goes_on, poisoned, killed, loses_node, slow, crashes)}

if __name__ == "__main__":
    run_rank(Path(sys.argv[1]), work)
