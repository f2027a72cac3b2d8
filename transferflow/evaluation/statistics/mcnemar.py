"""McNemar's exact test: of the images on which two models differ, does one win more often than by chance?

Q. McNemar, "Note on the sampling error of the difference between correlated proportions or percentages",
Psychometrika 12, 1947; in its exact form a sign test on the images that only one model gets right.
"""

from __future__ import annotations

import numpy as np

from transferflow.evaluation.statistics.bootstrap import FloatArray, Statistic

_ROWS = 1000


def mcnemar_p_value(champion: FloatArray, challenger: FloatArray) -> float:
    """Two-sided p-value of the hypothesis that both are right equally often.

    Args:
        champion: 1 for each image that it gets right, else 0.
        challenger: The same of the other model, with the images in the same order.
    """
    from scipy.stats import binomtest  # takes half a second to import, which a plan can do without

    won = int(((challenger == 1) & (champion == 0)).sum())
    lost = int(((challenger == 0) & (champion == 1)).sum())
    return float(binomtest(won, won + lost, 0.5).pvalue) if won + lost else 1.0


def right_or_wrong(statistic: Statistic, images: int) -> FloatArray | None:
    """Whether each image is right, from a share of right images; `None` where an image may be half right."""
    values = image_values(statistic, images)
    return values if np.isin(values, (0.0, 1.0)).all() else None


def image_values(statistic: Statistic, images: int) -> FloatArray:
    """The statistic of each image alone; `nan` where one image says nothing."""
    starts = range(0, images, _ROWS)
    return np.concatenate([statistic(_unit_rows(n, min(n + _ROWS, images), images)) for n in starts])


def _unit_rows(start: int, end: int, images: int) -> FloatArray:
    rows = np.zeros((end - start, images))
    rows[np.arange(end - start), np.arange(start, end)] = 1
    return rows
