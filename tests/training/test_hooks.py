import io
import logging

from rich.console import Console

from transferflow.training.hooks import BarHook, LogHook, build_hook, describe_epoch
from transferflow.training.loop.run import train


def test_a_log_line_per_epoch(build_job, caplog):
    with caplog.at_level(logging.INFO, "transferflow.training"):
        train(build_job(hooks=[LogHook()]))
    lines = [record.getMessage() for record in caplog.records]
    assert lines[0] == "training: 3 epochs of 3 steps"
    assert [line.split("  ")[0] for line in lines[1:]] == ["epoch 1/3", "epoch 2/3", "epoch 3/3"]
    assert all("accuracy" in line and "images/s" in line for line in lines[1:])


def test_a_bar_with_time_left_and_live_loss(build_job):
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=160)
    train(build_job(hooks=[BarHook(console)]))
    text = screen.getvalue()
    for part in ("epoch 1/3", "train loss", ", val ", "left", "images/s"):
        assert part in text


def test_the_bar_fits_a_narrow_terminal():
    screen = io.StringIO()
    bar = BarHook(Console(file=screen, force_terminal=True, width=80))
    bar.on_start(100, 10, 0)
    bar.on_epoch(8, {"balanced_accuracy": 0.9, "lr": 1e-3, "seconds": 100.0, "images_per_second": 1234.0})
    bar.on_step(99, 5, 0.5, 1e-3)
    bar.on_end()
    assert "balanced_accuracy 0.900" in screen.getvalue()
    assert "…" not in screen.getvalue()


def test_a_line_fits_a_narrow_terminal():
    values = {"train_loss": 0.5, "sensitivity_at_specificity": 0.9, "auroc": 0.9, "lr": 1e-3}
    line = describe_epoch(98, 100, values | {"seconds": 123.4, "images_per_second": 1234.0})
    assert len(line) <= 80
    assert "sensitivity_at_specificity 0.9000" in line


def test_who_watches_decides():
    assert isinstance(build_hook(True), BarHook)
    assert isinstance(build_hook(False), LogHook)


def test_the_line_shows_the_first_metrics():
    values = {"epoch": 2.0, "train_loss": 0.5, "train_cross_entropy": 0.5, "accuracy": 0.9, "auroc": 0.95}
    values |= {"ece": 0.1, "f1": 0.8, "lr": 1e-3, "seconds": 2.0, "images_per_second": 50.0}
    assert describe_epoch(2, 10, values | {"val_loss": 0.6, "val_dice": 0.1}) == (
        "epoch  3/10  train loss 0.5000, val 0.6000  accuracy 0.9000  2.0 s  50 images/s"
    )
    assert describe_epoch(2, 10, values) == (
        "epoch  3/10  train loss 0.5000  accuracy 0.9000  lr 1.0e-03  2.0 s  50 images/s"
    )
