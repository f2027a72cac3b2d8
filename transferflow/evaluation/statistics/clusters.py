"""What a resample draws: images, or whole groups of images that hang together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.intp]

LEAST_CLUSTERS = 10
"""With fewer, an interval over clusters says more about chance than about the model."""


@dataclass(frozen=True)
class Clusters:
    """Which images are drawn together.

    Attributes:
        of_image: Number of each image's cluster, 0..clusters - 1; `None` draws image by image.
        drawn: What is drawn, in words that follow "intervals over its".
    """

    of_image: IntArray | None = None
    drawn: str = "images"


def decide_clusters(groups: Sequence[str | None]) -> Clusters:
    """Draw whole groups, since images of one patient are no independent evidence.

    Intervals that draw image by image come out too narrow then (A. C. Davison and D. V. Hinkley: Bootstrap
    Methods and their Application, 1997, section 3.8).

    Args:
        groups: Patient, scene or the like of each image; an image without one stands for itself.
    """
    names = {name: number for number, name in enumerate(dict.fromkeys(g for g in groups if g is not None))}
    single = iter(range(len(names), len(names) + len(groups)))
    of_image = np.array([next(single) if g is None else names[g] for g in groups], dtype=np.intp)
    clusters = int(of_image.max()) + 1 if groups else 0
    if clusters == len(groups):
        return Clusters()
    if clusters < LEAST_CLUSTERS:
        return Clusters(
            drawn=f"images; its {clusters} groups are too few to be drawn, so that they may be too narrow"
        )
    return Clusters(of_image, f"{clusters:,} groups (patients, scenes), which are drawn whole")
