"""Two processes on a CPU that train one model: the same training as in one, whatever happens to them."""

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from transferflow.errors import InterruptedRunError, TerminatedRunError, TrainingError
from transferflow.training.distributed.addresses import free_port
from transferflow.training.distributed.launch import Launch, launch
from transferflow.training.tracking.spool import Spool

sys.path.insert(0, str(Path(__file__).parents[1]))
SCRIPT = str(Path(__file__).with_name("ranks_run.py"))


def run(folder, *cases, restarts=0):
    plan = Launch((SCRIPT,), 2, "cpu", restarts)
    launch(plan, {"folder": str(folder), "cases": cases})


class Lines(logging.Handler):
    def __init__(self):
        super().__init__()
        self.lines = []

    def emit(self, record):
        self.lines.append((record.levelno, record.getMessage()))


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The training in one process; a second one, stopped in the middle of the second epoch."""
    import toy

    class Stop:
        def on_step(self, epoch, step, loss, lr):
            if (epoch, step) == (1, 0):
                raise KeyboardInterrupt

        def __getattr__(self, name):
            return lambda *_: None

    folder = tmp_path_factory.mktemp("alone")
    toy.train_and_save(folder, "curve")
    with pytest.raises(Exception, match="1 of 3 steps"):
        toy.train_and_save(folder, "goes_on", hooks=[Stop()])
    return folder


@pytest.fixture(scope="module")
def together(alone, tmp_path_factory):
    """The same in two, and all that may happen to them; with the lines that were said, and the error."""
    folder = tmp_path_factory.mktemp("together")
    (alone / "goes_on").rename(folder / "goes_on")
    handler, logger = Lines(), logging.getLogger("transferflow")
    logger.addHandler(handler)
    before = logger.level
    logger.setLevel(logging.INFO)
    try:
        with pytest.raises(TrainingError) as caught:
            run(folder, "curve", "goes_on", "poisoned", "killed", "crashes", restarts=1)
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)
    return folder, handler.lines, caught.value


def told(folder, name):
    return json.loads((folder / f"{name}.json").read_text())


def same_weights(first, second):
    first, second = load_file(first), load_file(second)
    for name, tensor in first.items():
        torch.testing.assert_close(second[name], tensor, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["curve", "goes_on", "killed"])
def test_two_train_as_one(alone, together, name):
    """Phases, moving average, clipping, a weighted loss, and a last batch of an odd number of images."""
    folder, _, _ = together
    one, two = told(alone, "curve"), told(folder, name)
    assert (one["devices"], two["devices"]) == (1, 2)
    for row, other in zip(one["history"], two["history"], strict=True):
        for key in ("train_loss", "val_loss", "accuracy", "lr"):
            assert other[key] == pytest.approx(row[key], rel=1e-3, abs=1e-5)
    assert [proof[:2] for proof in one["proofs"]] == [proof[:2] for proof in two["proofs"]]
    assert all(before == after for _, _, before, after in two["proofs"])
    same_weights(alone / "curve-0.safetensors", folder / f"{name}-0.safetensors")


def test_both_hold_the_same_model_bit_for_bit_and_one_that_was_killed_too(together):
    folder, _, _ = together
    models = [load_file(folder / f"{name}.safetensors") for name in ("curve-0", "curve-1", "killed-0")]
    for other in models[1:]:
        assert all(torch.equal(tensor, other[name]) for name, tensor in models[0].items())


def test_an_image_that_is_no_number_is_named_whoever_has_it(together):
    import toy

    bad = list(toy.Loader(images=21, poison=(1, 2)).epoch(1))[2].ids[0]
    text = (together[0] / "poisoned.txt").read_text()
    assert f"images with pixels that are not finite: {bad}" in text
    assert "epoch 2, step 3" in text


def test_a_crash_is_told_with_its_signal_and_lines_come_from_one_process(together):
    _, lines, _ = together
    texts = [text for _, text in lines]
    (crash,) = [text for level, text in lines if level == logging.WARNING and "restart" in text]
    assert crash == (
        "the process of device 1 was ended by SIGKILL; training goes on from the last checkpoint: "
        "restart 1 of 1"
    )
    assert any(text.startswith("goes on after 1 of 3 epochs") for text in texts)
    assert sum("phase 2 of 2 begins" in text for text in texts) == 3  # goes_on had begun it alone


def test_a_training_that_was_killed_is_told_to_who_watches_by_one_process_and_once(together):
    points, _ = Spool(together[0] / "home" / "tracking" / "train" / "key").read(0)
    steps, epochs = ([p.step for p in points if p.family == name] for name in ("step", "epoch"))
    assert steps == list(range(1, 10))
    assert epochs == [0, 1, 2]


def is_running(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2][:3]


def nobody_is_left(folder):
    pids = [int(file.read_text()) for file in folder.glob("pid-*")]
    deadline = time.monotonic() + 5
    while any(map(is_running, pids)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return len(pids) == 2 and not any(map(is_running, pids))


def test_sigterm_saves_ends_all_and_one_process_goes_on(alone, tmp_path):
    def stop_once_it_trains():
        while not (tmp_path / "slow.step").exists():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=stop_once_it_trains).start()
    with pytest.raises(TerminatedRunError, match="training was stopped after 1 of 3 epochs") as caught:
        run(tmp_path, "slow")
    assert caught.value.exit_code == 143
    assert "run the same command again: it goes on from there" in str(caught.value)
    assert nobody_is_left(tmp_path)
    assert list((tmp_path / "slow").glob("epoch-0001-step-*"))
    import toy

    toy.train_and_save(tmp_path, "slow")
    same_weights(alone / "curve-0.safetensors", tmp_path / "slow-0.safetensors")


def test_a_crash_too_many_ends_with_its_traceback(together):
    folder, _, error = together
    assert "device 1 raised ZeroDivisionError: a bug in rank 1 again after 1 restart" in str(error)
    assert "in crashes" in error.problems[0].found
    assert nobody_is_left(folder)


def test_a_stop_before_anything_is_trained_says_what_to_do(tmp_path, monkeypatch):
    def stop(agent, lines, is_over):
        raise KeyboardInterrupt

    monkeypatch.setattr("transferflow.training.distributed.launch._wait", stop)
    with pytest.raises(InterruptedRunError, match="stopped outside of its epochs") as caught:
        run(tmp_path, "curve")
    assert "run the same command again" in str(caught.value)


def test_two_nodes_train_as_one_machine_with_two_devices_though_one_is_lost_and_comes_again(
    together, tmp_path
):
    script = str(Path(__file__).with_name("node_run.py"))
    words = [sys.executable, script, f"127.0.0.1:{free_port('127.0.0.1')}", str(tmp_path), "1", "loses_node"]
    owner = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    while "1 of 2 are there" not in owner.stderr.readline():
        pass
    assert subprocess.run(words, check=False).returncode == -signal.SIGKILL
    again = subprocess.Popen(words, stderr=subprocess.DEVNULL)
    said = owner.stderr.read()
    assert (owner.wait(), again.wait()) == (0, 0)
    assert "is gone: it shows no sign of life; training goes on from the last checkpoint: restart 1" in said
    one, two = (
        load_file(folder / name)
        for folder, name in ((together[0], "curve-0.safetensors"), (tmp_path, "loses_node-1.safetensors"))
    )
    assert all(torch.equal(tensor, two[name]) for name, tensor in one.items())
