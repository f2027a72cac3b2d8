"""Images as a person can see them: of any number of channels, gray or RGB."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from transferflow.data.files.decode import decode_image
from transferflow.data.snapshot.pixels import read_image
from transferflow.data.snapshot.rows import Row
from transferflow.evaluation.pictures import ImageArray
from transferflow.spec.sections.intensity import Intensity


def load_viewable(path: Path, channels: int, intensity: Intensity) -> ImageArray:
    """Decode an image for a person."""
    return viewable(decode_image(path, channels, intensity))


def show_row(row: Row, channels: int, intensity: Intensity) -> ImageArray:
    """Decode an image of a snapshot for a person."""
    return viewable(read_image(row, channels, intensity))


def viewable(image: ImageArray) -> ImageArray:
    """Gray (H x W), or the first three channels as RGB, of an image with any number of them (H x W x C)."""
    return image[..., 0] if image.shape[2] < 3 else np.ascontiguousarray(image[..., :3])
