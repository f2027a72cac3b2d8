"""How much of a curve or a confusion matrix is kept for the figures, whatever the task."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

CONFUSION_CLASSES = 200
"""Above this many classes only the most confused pairs are kept."""
CURVE_CLASSES = 12
"""Curves are kept for this many classes: those that rank worst."""
CURVE_POINTS = 120


def thin(length: int) -> NDArray[np.intp]:
    """Indices that keep at most `CURVE_POINTS` points of a curve, with both ends."""
    return np.unique(np.linspace(0, length - 1, min(length, CURVE_POINTS)).round().astype(np.intp))
