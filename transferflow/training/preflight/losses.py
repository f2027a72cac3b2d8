"""Losses before the first step, beside what they should be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from transferflow.text import four_digits
from transferflow.training.job import StartLoss
from transferflow.training.preflight.contents import Check


def check_losses(found: Mapping[str, float], expected: Mapping[str, StartLoss]) -> Iterator[Check]:
    """A check per loss that something is expected of, and their sum where there are several.

    Args:
        found: Each named loss of the batch.
        expected: What it should be.
    """
    if len(found) > 1:
        yield Check("loss", four_digits(sum(found.values())))
    for name, value in found.items():
        title = "loss" if len(found) == 1 else f"loss {name}"
        start = expected.get(name)
        if start is None:
            yield Check(title, four_digits(value))
        else:
            yield Check(title, four_digits(value), describe_start(start), decide_warning(name, value, start))


def describe_start(start: StartLoss) -> str:
    """What is expected, and why."""
    about = "about" if start.low > 0 else "at most about"
    return f"{about} {four_digits(start.value)}: {start.why}"


def decide_warning(name: str, value: float, start: StartLoss) -> str:
    """What to say of a loss that is clearly off; nothing where it is not.

    Args:
        name: The loss's name.
        value: What it is.
        start: What it should be.
    """
    title = "the loss" if name == "loss" else f"the loss {name}"
    starts = f"{title} starts at {four_digits(value)}, where {describe_start(start)}"
    if value > start.high:
        return f"{starts}; look at the labels, the pixels (normalisation) and the weights of the classes"
    if value < start.low:
        return f"{starts}; something gives the answers away: look whether the images show their labels"
    return ""
