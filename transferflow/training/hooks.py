"""What a person sees of a training: a progress bar on a terminal, a log line per epoch elsewhere."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from transferflow.logs import get_logger
from transferflow.text import counted, four_digits
from transferflow.training.job import Hook

logger = get_logger("training")
NARROW = 80
"""Columns that a line of an epoch, and the bar, may take."""
_NOT_METRICS = frozenset(
    {"epoch", "lr", "seconds", "images_per_second", "skipped_steps", "min_score", "temperature"}
)
_LOSSES = {"train loss": "train_loss", "val": "val_loss"}


def build_hook(interactive: bool) -> Hook:
    """A progress bar where a person watches, else log lines."""
    return BarHook(Console(stderr=True)) if interactive else LogHook()


def describe_epoch(epoch: int, epochs: int, values: Mapping[str, float]) -> str:
    """One line: number, loss in training and validation, as many metrics as fit, rate, time and speed."""
    width = len(str(epochs))
    start = [f"epoch {epoch + 1:>{width}}/{epochs}"]
    losses = [f"{name} {four_digits(values[key])}" for name, key in _LOSSES.items() if key in values]
    start += [", ".join(losses)] if losses else []
    end = [f"lr {values['lr']:.1e}", f"{values['seconds']:.1f} s"]
    end.append(f"{values['images_per_second']:.0f} images/s")
    metrics = [f"{name} {four_digits(values[name])}" for name in _metrics(values)]
    shown = metrics[:1]
    while end and len("  ".join([*start, *shown, *end])) > NARROW:
        end.pop(0)  # a long name of the metric that decides is worth more
    for metric in metrics[1:]:
        if len("  ".join([*start, *shown, metric, *end])) > NARROW:
            break
        shown.append(metric)
    return "  ".join([*start, *shown, *end])


def _metrics(values: Mapping[str, float]) -> list[str]:
    return [name for name in values if name not in _NOT_METRICS and not name.startswith(("train_", "val_"))]


class LogHook:
    """A log line per epoch on the logger `transferflow.training`."""

    def __init__(self) -> None:
        self._epochs = 0

    def on_start(self, epochs: int, steps: int, first_epoch: int) -> None:
        self._epochs = epochs
        logger.info("training: %s of %s", counted(epochs - first_epoch, "epoch"), counted(steps, "step"))

    def on_step(self, epoch: int, step: int, loss: float, lr: float) -> None:
        """Nothing: one line per epoch is enough."""

    def on_epoch(self, epoch: int, values: Mapping[str, float]) -> None:
        logger.info("%s", describe_epoch(epoch, self._epochs, values))

    def on_end(self) -> None:
        """Nothing to close."""


class BarHook:
    """A bar with the time left, the live loss and the last metric; each finished epoch leaves a line."""

    def __init__(self, console: Console) -> None:
        self._epochs = self._steps = 0
        self._loss = 0.0
        self._metric = ""
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=12),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeRemainingColumn(compact=True),
            TextColumn("left"),
            TextColumn("{task.fields[live]}"),
            console=console,
            transient=True,
        )
        self._task = self._bar.add_task("training", total=None, live="")

    def on_start(self, epochs: int, steps: int, first_epoch: int) -> None:
        self._epochs, self._steps = epochs, steps
        self._bar.update(self._task, total=epochs * steps, completed=first_epoch * steps)
        self._bar.start()

    def on_step(self, epoch: int, step: int, loss: float, lr: float) -> None:
        # A running mean: the loss of one batch jumps too much to be read.
        self._loss = loss if step == 0 else 0.9 * self._loss + 0.1 * loss
        self._bar.update(
            self._task,
            completed=epoch * self._steps + step + 1,
            description=f"epoch {epoch + 1}/{self._epochs}",
            live=f"train loss {self._loss:.3f}{self._metric}",
        )

    def on_epoch(self, epoch: int, values: Mapping[str, float]) -> None:
        self._metric = "".join(f" {name} {values[name]:.3f}" for name in _metrics(values)[:1])
        self._bar.console.print(describe_epoch(epoch, self._epochs, values), highlight=False)

    def on_end(self) -> None:
        self._bar.stop()
