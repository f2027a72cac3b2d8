"""Images as a person wants to see them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from transferflow.data.files.decode import decode_image
from transferflow.evaluation.pictures import ImageArray
from transferflow.spec.sections.data import Intensity


def show_image(path: Path, channels: int, intensity: Intensity) -> ImageArray:
    """Decode an image for a person: gray, or the first three channels as RGB."""
    image = decode_image(path, channels, intensity)
    return image[:, :, 0] if image.shape[2] < 3 else np.ascontiguousarray(image[:, :, :3])
