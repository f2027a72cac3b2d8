"""Index masks that people can look at."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from transferflow.data.files.geometry import Pixels

_COLOURS = ((0, 0, 0), (230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66))


def save_index_mask(mask: Pixels, file: Path) -> None:
    """Save class indices (uint8, H x W, below 5) as a palette PNG: each class has a colour."""
    image = Image.fromarray(mask)
    image.putpalette(np.array(_COLOURS, np.uint8).tobytes())
    image.save(file)
