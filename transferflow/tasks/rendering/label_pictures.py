"""An image with what was said of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from transferflow.data.snapshot.rows import Row
from transferflow.evaluation.pictures import ImageArray, Panel, Picture


def picture_labels(
    row: Row,
    show: Callable[[Row], ImageArray],
    said: NDArray[np.bool_],
    classes: Sequence[str],
    truth_share: float,
) -> Picture:
    """The image with its labels, and those that it was given.

    Args:
        row: The image.
        show: Gives it as a person wants to see it.
        said: Per class, whether it was said.
        classes: Class names in order.
        truth_share: Probability of the truth, 0..1.
    """
    answer = ", ".join(classes[int(n)] for n in np.flatnonzero(said))
    truth = ", ".join(sorted(row.labels, key=classes.index))
    verdict = "recognised" if answer == truth else f"taken for {answer or '(none)'}"
    title = f"{truth or '(none)'}, {verdict}"
    lines = (row.id, f"probability of the truth {truth_share:.3f}")
    return Picture((Panel(show(row)),), title, lines, row.id)
