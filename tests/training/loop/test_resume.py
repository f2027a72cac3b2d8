"""A training that was cut off and resumed gives the same bits as one that was not."""

import json
import logging
import multiprocessing
import pickle
import random
import runpy
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from transferflow.errors import InterruptedRunError, TrainingError
from transferflow.spec.sections.freeze import FreezePhases, Phase
from transferflow.store import file_digest
from transferflow.training.job import Checkpointing, TrainingResult
from transferflow.training.loop.run import train

SCRIPT = Path(__file__).with_name("killed_run.py")
PHASES = FreezePhases(
    policy="phases",
    phases=(Phase(epochs=2, train=("layer2", "head")), Phase(epochs=2, train=("*",), lr_scale=0.5)),
)
SETTINGS = {"epochs": 4, "ema": 0.9, "gradient_clip": 1.0}


class StopAt:
    """A hook that interrupts as ctrl-C does; without a step, after the epoch's checkpoint."""

    def __init__(self, epoch, step=None):
        self.at = (epoch, step)

    def on_start(self, epochs, steps, first_epoch):
        self.first_epoch = first_epoch

    def on_step(self, epoch, step, loss, lr):
        if (epoch, step) == self.at:
            raise KeyboardInterrupt

    def on_epoch(self, epoch, values):
        if (epoch, None) == self.at:
            raise KeyboardInterrupt

    def on_end(self): ...


def bare(result):
    """A result without what time decides."""
    timing = ("seconds", "images_per_second")
    rows = tuple({k: v for k, v in row.items() if k not in timing} for row in result.history)
    return rows, result.best_epoch, result.best_value, result.proofs


@dataclass(frozen=True)
class Whole:
    """An undisturbed training."""

    result: TrainingResult
    weights: dict[str, torch.Tensor]

    def equals(self, result, job):
        state = job.model.state_dict()
        same = all(torch.equal(tensor, state[name]) for name, tensor in self.weights.items())
        return same and bare(result) == bare(self.result)


@pytest.fixture(scope="module")
def whole(build_job_in, tmp_path_factory):
    job = build_job_in(tmp_path_factory.mktemp("whole"), freeze=PHASES, settings=SETTINGS)
    result = train(job)
    return Whole(result, {name: tensor.clone() for name, tensor in job.model.state_dict().items()})


def test_interrupted_and_resumed_in_bf16(build_job, tmp_path):
    settings = SETTINGS | {"precision": "bf16"}
    job = build_job(freeze=PHASES, settings=settings, folder=tmp_path / "whole")
    undisturbed = Whole(train(job), job.model.state_dict())
    with pytest.raises(InterruptedRunError):
        train(build_job(freeze=PHASES, settings=settings, hooks=[StopAt(2, 0)]))
    resumed = build_job(freeze=PHASES, settings=settings)
    assert undisturbed.equals(train(resumed), resumed)


@pytest.mark.parametrize(("second", "told"), [(False, "bf16, then fp32"), (True, "bf16")])
def test_another_arithmetic_is_told(build_job, monkeypatch, caplog, second, told):
    """`auto` is what the device computes: a training may go on on one that computes otherwise."""
    auto = SETTINGS | {"precision": "auto"}
    monkeypatch.setattr("transferflow.training.loop.build.computes_bf16_fast", lambda device: True)
    with pytest.raises(InterruptedRunError):
        train(build_job(settings=auto, hooks=[StopAt(1)]))
    monkeypatch.setattr("transferflow.training.loop.build.computes_bf16_fast", lambda device: second)
    assert train(build_job(settings=auto)).precision == told
    assert ("in bf16 so far, and goes on in fp32" in caplog.text) is not second


@pytest.mark.parametrize(
    "point", [(0, 1), (0, None), (1, 2), (1, None), (2, 0), (2, None), (3, 2), (3, None)]
)
def test_interrupted_and_resumed(build_job, whole, point):
    """Saved where it stands: nothing that was trained is lost, and the data before it is not read again."""
    stopped = build_job(freeze=PHASES, settings=SETTINGS, hooks=[StopAt(*point)])
    with pytest.raises(InterruptedRunError, match="of 4 epochs") as caught:
        train(stopped)
    assert "run the same command again: it goes on from there" in str(caught.value)
    loader = Watched(stopped.train_loader)
    resumed = build_job(freeze=PHASES, settings=SETTINGS, train_loader=loader)
    found = train(resumed)
    epoch, steps = point[0] + (point[1] is None), 0 if point[1] is None else point[1] + 1
    assert loader.asked == [(epoch, steps), *((later, 0) for later in range(epoch + 1, 4))][: 4 - epoch]
    assert whole.equals(found, resumed)


class Watched:
    """A loader that notes what it is asked for."""

    def __init__(self, loader):
        self.loader, self.asked = loader, []

    def __len__(self):
        return len(self.loader)

    def epoch(self, number, first=0):
        self.asked.append((number, first))
        return self.loader.epoch(number, first)


@pytest.mark.parametrize("place", range(12))
def test_cut_off_without_a_word_after_any_step(build_job, tmp_path, whole, place):
    """A checkpoint a step; each one alone is enough to go on from."""

    class Crash(StopAt):
        def on_step(self, epoch, step, loss, lr):
            if epoch * 3 + step == place + 1:
                raise MemoryError  # nobody catches it: as a kill would, it leaves what was saved before

    every_step = Checkpointing(every_seconds=0.0, keep=1)
    cut = build_job(freeze=PHASES, settings=SETTINGS, checkpointing=every_step, hooks=[Crash(99)])
    if place < 11:
        with pytest.raises(MemoryError):
            train(cut)
        (left,) = (path.name for path in (tmp_path / "checkpoints").glob("epoch-*"))
        epochs, steps = divmod(place + 1, 3)
        assert left == (f"epoch-{epochs:04}-step-{steps:05}" if steps else f"epoch-{epochs:04}")
    resumed = build_job(freeze=PHASES, settings=SETTINGS)
    assert whole.equals(train(resumed), resumed)


def test_no_checkpoint_within_an_epoch_unless_it_is_due(build_job, tmp_path):
    places = []

    class Look(StopAt):
        def on_step(self, epoch, step, loss, lr):
            places.extend(path.name for path in (tmp_path / "checkpoints").glob("*-step-*"))

    for every in (None, 600.0):
        job = build_job(checkpointing=Checkpointing(every), hooks=[Look(99)], folder=tmp_path / "checkpoints")
        train(job)
    assert places == []


@pytest.fixture
def one_thread():
    """As in the processes that are killed: sums are taken in the same order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


KILLS = (("tiny", ("step:1:1", "epoch:1", "step:2:1", "flush:3")), ("resnet18", ("epoch:1", "step:3:0")))


def start_alone(*arguments):
    """Train in a process of its own."""
    # Forked from a server that has imported torch once: that takes seconds.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch._dynamo", "torchvision.models", "timm"])
    script = (str(SCRIPT), {"ARGUMENTS": arguments}, "__alone__")
    process = context.Process(target=runpy.run_path, args=script)
    process.start()
    return process


def run_alone(*arguments):
    """Train in a process of its own; return how it ended."""
    process = start_alone(*arguments)
    process.join(300)
    return process.exitcode


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize(("name", "points"), KILLS)
def test_killed_again_and_again(tmp_path, name, points):
    """Killed before, at and after a phase boundary, and while a checkpoint is written."""
    run = runpy.run_path(str(SCRIPT))["main"]
    cut, result = tmp_path / "cut", tmp_path / "cut.safetensors"
    for point in points:
        assert run_alone(name, cut, result, point) == -signal.SIGKILL
    assert not result.exists()
    proofs = run(name, cut, result)
    assert proofs == run(name, tmp_path / "whole", tmp_path / "whole.safetensors")
    assert len(proofs) == 2
    assert all(proof.holds for proof in proofs)
    assert result.read_bytes() == (tmp_path / "whole.safetensors").read_bytes()
    left = sorted(path.name for path in cut.iterdir() if not path.name.startswith("best-"))
    assert left == ["epoch-0003", "epoch-0004"]


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_killed_at_random_times(tmp_path):
    """The quick form of `benchmarks/kills.py`: from outside, whatever it is at; saving most of the time."""
    run = runpy.run_path(str(SCRIPT))["main"]
    draw = random.Random(5)
    cut, result = tmp_path / "cut", tmp_path / "cut.safetensors"
    kills = 0
    while not result.exists():
        process = start_alone("tiny", cut, result, "", "0")
        deadline = time.monotonic() + 60
        before = newest(cut)
        while process.is_alive() and newest(cut) == before and time.monotonic() < deadline:
            time.sleep(0.005)  # it has started to train
        time.sleep(draw.uniform(0, 0.05))
        process.kill()
        process.join(60)
        kills += process.exitcode == -signal.SIGKILL
    assert kills >= 3
    run("tiny", tmp_path / "whole", tmp_path / "whole.safetensors")
    assert result.read_bytes() == (tmp_path / "whole.safetensors").read_bytes()


def newest(folder):
    return max((path.name for path in folder.glob("epoch-*")), default="")


def cut_after_three(build_job):
    with pytest.raises(InterruptedRunError):
        train(build_job(freeze=PHASES, settings=SETTINGS, hooks=[StopAt(2)]))


@pytest.mark.parametrize("name", ["weights.safetensors", "ema.safetensors", "optimizer.pt", "state.json"])
@pytest.mark.parametrize("damage", ["cut", "flip", "gone"])
def test_a_damaged_checkpoint_costs_one_epoch(build_job, tmp_path, whole, caplog, name, damage):
    cut_after_three(build_job)
    file = tmp_path / "checkpoints" / "epoch-0003" / name
    content = bytearray(file.read_bytes())
    if damage == "cut":
        file.write_bytes(content[: len(content) // 2])
    elif damage == "flip":
        content[len(content) // 2] ^= 0xFF
        file.write_bytes(content)
    else:
        file.unlink()
    watcher = StopAt(99)
    with caplog.at_level(logging.WARNING, "transferflow.training"):
        job = build_job(freeze=PHASES, settings=SETTINGS, hooks=[watcher])
        found = train(job)
    assert watcher.first_epoch == 2
    assert "the checkpoint epoch-0003 is damaged" in caplog.text
    assert whole.equals(found, job)
    left = {path.name for path in (tmp_path / "checkpoints").glob("epoch-*")}
    assert left == {"epoch-0003", "epoch-0004"}  # written anew in its place


def test_without_a_whole_checkpoint_training_starts_anew(build_job, tmp_path, whole, caplog):
    cut_after_three(build_job)
    for state in (tmp_path / "checkpoints").glob("epoch-*/state.json"):
        state.write_text("{}")
    watcher = StopAt(99)
    job = build_job(freeze=PHASES, settings=SETTINGS, hooks=[watcher])
    found = train(job)
    assert watcher.first_epoch == 0
    assert caplog.text.count("damaged") == 2
    assert whole.equals(found, job)


def test_a_pickle_with_code_is_not_run(build_job, tmp_path, caplog):
    """Even one whose hash is right."""
    cut_after_three(build_job)

    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "owned",))

    folder = tmp_path / "checkpoints" / "epoch-0003"
    (folder / "optimizer.pt").write_bytes(pickle.dumps(Evil()))
    state = json.loads((folder / "state.json").read_text())
    state["files"]["optimizer.pt"] = file_digest(folder / "optimizer.pt")
    (folder / "state.json").write_text(json.dumps(state))
    train(build_job(freeze=PHASES, settings=SETTINGS))
    assert not (tmp_path / "owned").exists()
    assert "epoch-0003" in caplog.text


def test_a_checkpoint_of_another_job_is_refused(build_job):
    cut_after_three(build_job)
    with pytest.raises(TrainingError, match="belongs to another training"):
        train(build_job(freeze=PHASES, settings=SETTINGS | {"seed": 1}))


def test_a_finished_training_is_not_repeated(build_job):
    first = train(build_job(settings=SETTINGS))
    watcher = StopAt(99)
    job = build_job(settings=SETTINGS, hooks=[watcher])
    again = train(job)
    assert again == first
    assert watcher.first_epoch == 4
    assert job.validate(job.model)["val_loss"] == pytest.approx(first.best_value, rel=1e-5)
