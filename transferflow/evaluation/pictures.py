"""Images with words beside them: what a task shows of its predictions, and a report draws."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

ImageArray = npt.NDArray[np.uint8]
"""Height x width x 3 (RGB) or height x width (gray)."""


@dataclass(frozen=True)
class Panel:
    """One image with a label under it, such as `truth` or `prediction`."""

    image: ImageArray
    label: str = ""


@dataclass(frozen=True)
class Picture:
    """One or more panels of the same image, and what to know about it.

    Attributes:
        panels: Shown side by side.
        title: Bold line: `cat, taken for dog`.
        lines: Small lines under it: the image's id, probabilities.
        image_id: Record id of the image; empty when it is of no record.
    """

    panels: tuple[Panel, ...]
    title: str = ""
    lines: tuple[str, ...] = ()
    image_id: str = ""
