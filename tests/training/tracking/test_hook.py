import logging

import pytest

from transferflow.training.loop.run import train
from transferflow.training.tracking.hook import MOST_STEPS, TrackingHook
from transferflow.training.tracking.spool import Spool


class Helper:
    """Notes that it was started."""

    def __init__(self):
        self.starts = 0

    def start(self):
        self.starts += 1

    def tell(self): ...


@pytest.fixture
def spool(tmp_path):
    return Spool(tmp_path / "tracking")


def hook(spool, rates=None, patience=3600.0):
    return TrackingHook(spool, rates or {}, Helper(), patience)


def points(spool, family):
    return {point.step: point.values for point in spool.read(0)[0] if point.family == family}


def test_a_training_tells_its_steps_and_the_rows_of_its_history(build_job, spool):
    watching = hook(spool, {"stem": 0.1, "head": 1.0})
    result = train(build_job(hooks=[watching]))
    steps, epochs = points(spool, "step"), points(spool, "epoch")
    assert list(steps) == list(range(1, 10))
    assert all(set(one) == {"train_loss", "lr", "steps_per_second"} for one in steps.values())
    for number, row in enumerate(result.history):
        assert epochs[number] == dict(row) | {"lr.stem": 0.1 * row["lr"], "lr.head": row["lr"]}
    losses = [steps[number]["train_loss"] for number in (1, 2, 3)]
    assert sum(losses) / 3 == pytest.approx(result.history[0]["train_loss"])


@pytest.mark.parametrize(("epochs", "steps"), [(3, 3), (10, 100), (7, 1001), (1000, 997)])
def test_however_long_it_is_it_tells_a_bounded_number_of_steps(spool, epochs, steps):
    watching = hook(spool)
    watching.on_start(epochs, steps, 0)
    told = []
    watching._tell = lambda family, step, values: told.append(step)
    for number in range(epochs * steps):
        watching.on_step(*divmod(number, steps), 1.0, 1e-3)
    assert min(epochs * steps, MOST_STEPS) / 2 < len(told) <= MOST_STEPS


def test_a_training_that_goes_on_tells_nothing_twice_and_leaves_nothing_out(build_job, spool, tmp_path):
    class Stop:
        def on_start(self, epochs, steps, first_epoch): ...

        def on_step(self, epoch, step, loss, lr):
            if (epoch, step) == (1, 1):
                raise RuntimeError

        def on_epoch(self, epoch, values): ...

        def on_end(self): ...

    whole = Spool(tmp_path / "whole")
    train(build_job(folder=tmp_path / "undisturbed", hooks=[hook(whole)]))
    with pytest.raises(RuntimeError):  # a crash: it goes on from the end of the epoch before
        train(build_job(hooks=[hook(spool), Stop()]))
    assert list(points(spool, "step")) == [1, 2, 3, 4, 5]
    with (spool.folder / "points.jsonl").open("ab") as stream:
        stream.write(b'{"family":"step","st')
    train(build_job(hooks=[hook(spool)]))
    lines = (spool.folder / "points.jsonl").read_text().splitlines()
    assert len(lines) == 9 + 3
    for number, values in points(whole, "step").items():
        assert points(spool, "step")[number]["train_loss"] == values["train_loss"]


def test_an_epoch_that_a_kill_kept_from_being_told_is_told_in_the_end(build_job, spool):
    watching = hook(spool)
    watching.on_start(3, 3, 0)
    watching.on_epoch(0, {"a": 1.0, "lr": 0.1})
    watching.on_epoch(2, {"a": 3.0, "lr": 0.1})
    watching.complete([{"a": 1.0}, {"a": 2.0}, {"a": 3.0}])
    assert {step: values["a"] for step, values in points(spool, "epoch").items()} == {0: 1.0, 1: 2.0, 2: 3.0}
    assert len(spool.read(0)[0]) == 3


def test_a_full_disk_ends_the_telling_and_not_the_training(build_job, spool, caplog, monkeypatch):
    def full(self, point):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Spool, "append", full)
    with caplog.at_level(logging.WARNING, "transferflow.training"):
        assert len(train(build_job(hooks=[hook(spool)])).history) == 3
    [line] = [record.getMessage() for record in caplog.records]
    assert line.startswith("tracking: no more points are kept ([Errno 28] No space left on device)")


@pytest.mark.parametrize(("patience", "starts"), [(3600.0, 0), (0.0, 1)])
def test_the_helper_starts_once_and_not_for_a_short_training(build_job, spool, patience, starts):
    watching = hook(spool, patience=patience)
    train(build_job(hooks=[watching]))
    assert watching._helper.starts == starts
