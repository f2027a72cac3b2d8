"""Thresholds on a class's probability, chosen on images whose truth is known."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from transferflow.evaluation.statistics.bootstrap import FloatArray

Aim = Literal["f1", "sensitivity", "specificity"]
_ABOVE = 1.01
"""A threshold that no probability reaches."""


def choose_threshold(
    scores: FloatArray, truth: npt.NDArray[np.bool_], aim: Aim, at_least: float
) -> float | None:
    """The threshold from which on a class is said.

    - f1: the one with the largest F1; of equals the highest.
    - sensitivity: the highest one that finds at least the share `at_least` of the positive images.
    - specificity: the lowest one that leaves alone at least that share of the negative ones.

    Args:
        scores: Probability of each image, 0..1.
        truth: Whether each image is positive.
        aim: What is asked for.
        at_least: The share, 0..1; of no meaning for `f1`.

    Returns:
        A number halfway between two scores, so that rounding moves no image; `None` without both positives
        and negatives.
    """
    positives, negatives = int(truth.sum()), int((~truth).sum())
    if positives == 0 or negatives == 0:
        return None
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    found, false = np.cumsum(truth[order]), np.cumsum(~truth[order])
    # A threshold lies below the last of several equal scores; the first one says yes to no image.
    last = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)
    ends = [_ABOVE, *((ranked[last[:-1]] + ranked[last[:-1] + 1]) / 2), 0.0]
    hits, alarms = np.append(0, found[last]), np.append(0, false[last])
    match aim:
        case "f1":
            chosen = int(np.argmax(2 * hits / np.maximum(hits + alarms + positives, 1)))
        case "sensitivity":
            chosen = int(np.flatnonzero(hits >= at_least * positives - 1e-9)[0])
        case _:
            chosen = int(np.flatnonzero(alarms <= (1 - at_least) * negatives + 1e-9)[-1])
    return float(ends[chosen])
