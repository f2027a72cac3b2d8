"""SIGTERM and ctrl-C, wherever they come: nothing that was trained is lost, and nothing is torn."""

import os
import signal
import threading

import pytest
import torch
from torch import nn

from transferflow.data.loading.workers import describe_death
from transferflow.errors import DataError, InterruptedRunError, StopSignal, TerminatedRunError
from transferflow.training.loop.run import train
from transferflow.training.loop.stopping import StopSignals

SETTINGS = {"epochs": 2, "ema": 0.9, "gradient_clip": 1.0}


class Theirs(BaseException):
    """What somebody else's handler raises, as Prefect's does."""


@pytest.fixture
def their_handler():
    def handler(number, frame):
        raise Theirs(number)

    before = signal.signal(signal.SIGTERM, handler)
    yield handler
    signal.signal(signal.SIGTERM, before)


def send(number):
    os.kill(os.getpid(), number)


def note_while_held(seen, number):
    with StopSignals() as signals:
        with signals.held():
            send(number)
            seen.append("whole")
        seen.append("never")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_waits_for_the_end_of_what_must_not_be_cut(number):
    seen = []
    with pytest.raises((StopSignal, KeyboardInterrupt)) as caught:
        note_while_held(seen, number)
    assert seen == ["whole"]
    assert caught.type is (StopSignal if number == signal.SIGTERM else KeyboardInterrupt)


@pytest.mark.parametrize("stop", [None, signal.SIGTERM])
def test_the_end_of_a_loader_process_waits_too_and_a_stop_comes_first(stop):
    def handler(number, frame):
        raise RuntimeError("DataLoader worker (pid 4711) is killed by signal: Terminated. ")

    def hold():
        with StopSignals() as signals, signals.held():
            send(signal.SIGCHLD)
            if stop:
                send(stop)
            seen.append("whole")

    before, seen = signal.signal(signal.SIGCHLD, handler), []
    try:
        with pytest.raises(StopSignal if stop else RuntimeError):
            hold()
    finally:
        signal.signal(signal.SIGCHLD, before)
    assert seen == ["whole"]


def test_somebody_elses_handler_stays_theirs(their_handler):
    with StopSignals() as signals:
        assert signal.getsignal(signal.SIGTERM) is their_handler
        with pytest.raises(Theirs), signals.held():
            send(signal.SIGTERM)
        assert signal.getsignal(signal.SIGTERM) is their_handler
        waiting = signals.close()
        send(signal.SIGTERM)
        send(signal.SIGCHLD)
        assert waiting == [signal.SIGTERM]
    assert signal.getsignal(signal.SIGTERM) is their_handler


def test_all_handlers_come_back():
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)
    before = [signal.getsignal(number) for number in numbers]
    with StopSignals() as signals:
        with signals.held():
            pass
        signals.close()
    assert [signal.getsignal(number) for number in numbers] == before


def state(job):
    return {name: tensor.clone() for name, tensor in job.model.state_dict().items()}


@pytest.fixture(scope="module")
def undisturbed(build_job_in, tmp_path_factory):
    job = build_job_in(tmp_path_factory.mktemp("whole"), settings=SETTINGS)
    train(job)
    return state(job)


def goes_on(build_job, undisturbed):
    job = build_job(settings=SETTINGS)
    result = train(job)
    found = state(job)
    return all(torch.equal(undisturbed[name], found[name]) for name in undisturbed), len(result.history)


@pytest.mark.parametrize(
    ("number", "error", "code"),
    [(signal.SIGTERM, TerminatedRunError, 143), (signal.SIGINT, InterruptedRunError, 130)],
)
def test_in_the_forward_pass_of_a_step(build_job, undisturbed, number, error, code):
    """Batch norm has seen the batch then; the step that is taken anew must not find that."""
    calls = []

    def losses(model, batch):
        logits = model(batch.images)
        calls.append(1)
        if len(calls) == 5:
            send(number)
        return {"cross_entropy": nn.functional.cross_entropy(logits, batch.targets)}

    with pytest.raises(error, match="after 1 of 2 epochs and 1 of 3 steps of the next") as caught:
        train(build_job(settings=SETTINGS, losses=losses))
    assert type(caught.value) is error
    assert caught.value.exit_code == code
    assert "hint: run the same command again: it goes on from there" in str(caught.value)
    assert goes_on(build_job, undisturbed) == (True, 2)


def test_while_the_weights_move(build_job, undisturbed, monkeypatch):
    """The step is finished first: half of the weights moved would be a state that never was."""
    plain = nn.utils.clip_grads_with_norm_
    calls = []

    def clip(parameters, limit, norm):
        calls.append(1)
        if len(calls) == 2:
            send(signal.SIGTERM)
        return plain(parameters, limit, norm)

    monkeypatch.setattr(nn.utils, "clip_grads_with_norm_", clip)
    with pytest.raises(TerminatedRunError, match="0 of 2 epochs and 2 of 3 steps"):
        train(build_job(settings=SETTINGS))
    assert goes_on(build_job, undisturbed) == (True, 2)


def test_while_it_validates_and_while_it_saves(build_job, undisturbed, tmp_path, monkeypatch):
    def validate(model):
        send(signal.SIGTERM)
        raise AssertionError

    with pytest.raises(TerminatedRunError, match="0 of 2 epochs and 3 of 3 steps"):
        train(build_job(settings=SETTINGS, validate=validate))
    plain = os.fsync

    def flush(handle):
        monkeypatch.setattr(os, "fsync", plain)
        send(signal.SIGTERM)
        plain(handle)

    monkeypatch.setattr(os, "fsync", flush)
    with pytest.raises(TerminatedRunError, match="1 of 2 epochs"):
        train(build_job(settings=SETTINGS))
    assert goes_on(build_job, undisturbed) == (True, 2)


def test_before_anything_was_trained(build_job, tmp_path):
    def losses(model, batch):
        send(signal.SIGTERM)
        raise AssertionError

    with pytest.raises(TerminatedRunError, match="nothing was trained yet, so it starts anew"):
        train(build_job(settings=SETTINGS, losses=losses))
    assert not list((tmp_path / "checkpoints").glob("*"))


class At:
    """A hook that does something after a step."""

    def __init__(self, place, action):
        self.place, self.action = place, action

    def on_start(self, epochs, steps, first_epoch): ...

    def on_step(self, epoch, step, loss, lr):
        if (epoch, step) == self.place:
            self.action()

    def on_epoch(self, epoch, values): ...

    def on_end(self): ...


def test_their_signal_is_passed_on_once_it_is_saved(build_job, undisturbed, their_handler, caplog):
    with pytest.raises(Theirs):
        train(build_job(settings=SETTINGS, hooks=[At((1, 0), lambda: send(signal.SIGTERM))]))
    assert "training was stopped after 1 of 2 epochs and 1 of 3 steps of the next" in caplog.text
    assert "run the same command again: it goes on from there" in caplog.text
    assert goes_on(build_job, undisturbed) == (True, 2)


def test_in_another_thread_it_trains_all_the_same(build_job, undisturbed):
    job = build_job(settings=SETTINGS)
    thread = threading.Thread(target=train, args=(job,))
    thread.start()
    thread.join()
    assert all(torch.equal(tensor, undisturbed[name]) for name, tensor in job.model.state_dict().items())


def test_a_dead_loader_process_is_said_and_costs_nothing(build_job, undisturbed):
    """Torch raises it in the main thread, wherever that is."""

    def die():
        raise RuntimeError("DataLoader worker (pid 4711) is killed by signal: Killed. ")

    with pytest.raises(DataError, match="a process that loads images died") as caught:
        train(build_job(settings=SETTINGS, hooks=[At((0, 1), die)]))
    assert "found: DataLoader worker (pid 4711) is killed by signal: Killed." in str(caught.value)
    assert "training.workers" in str(caught.value)
    assert goes_on(build_job, undisturbed) == (True, 2)


@pytest.mark.parametrize(
    ("stop", "error"),
    [(StopSignal(15), TerminatedRunError), (KeyboardInterrupt(), InterruptedRunError), (Theirs(15), Theirs)],
)
def test_a_loader_process_that_got_the_same_signal_is_not_the_reason(build_job, undisturbed, stop, error):
    def die():
        try:
            raise stop
        finally:  # the death is heard while the stop is on its way out
            raise RuntimeError("DataLoader worker (pid 4711) is killed by signal: Terminated. ")

    with pytest.raises(error) as caught:
        train(build_job(settings=SETTINGS, hooks=[At((0, 1), die)]))
    assert "memory" not in str(caught.value)
    assert goes_on(build_job, undisturbed) == (True, 2)


@pytest.mark.parametrize("is_told", [False, True], ids=["by torch", "by the loader"])
def test_a_signal_that_reaches_a_loader_process_first_is_the_reason(build_job, undisturbed, is_told):
    def die():
        threading.Timer(0.2, send, (signal.SIGTERM,)).start()
        death = RuntimeError("DataLoader worker (pid 4711) is killed by signal: Terminated. ")
        raise (describe_death(death) if is_told else death) from None

    with pytest.raises(TerminatedRunError, match="training was stopped after"):
        train(build_job(settings=SETTINGS, hooks=[At((0, 1), die)]))
    assert goes_on(build_job, undisturbed) == (True, 2)


def test_only_torchs_own_words_mean_a_death():
    assert describe_death(RuntimeError("mat1 and mat2 shapes cannot be multiplied")) is None
    assert describe_death(ValueError("DataLoader worker (pid 1) exited")) is None


def test_an_error_of_the_data_is_raised_once_what_was_trained_is_saved(build_job, undisturbed):
    def losses(model, batch):
        raise DataError("an image is gone")

    first = build_job(settings=SETTINGS, hooks=[At((0, 1), lambda: send(signal.SIGINT))])
    with pytest.raises(InterruptedRunError):
        train(first)
    with pytest.raises(DataError, match="an image is gone"):
        train(build_job(settings=SETTINGS, losses=losses))
    assert goes_on(build_job, undisturbed) == (True, 2)
