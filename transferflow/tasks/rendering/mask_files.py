"""Predicted masks as files, and as run lengths."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from pathlib import Path, PurePath

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from transferflow.data.files.geometry import Pixels
from transferflow.data.files.images import open_image
from transferflow.errors import EvaluationError


def picture_name(image: str, kind: str) -> str:
    """File name for a picture made of an image: readable, safe, and another one for each id.

    Args:
        image: The image's id, any text: a path, for one.
        kind: What the picture is, such as `mask`.
    """
    # Fifty letters of four bytes each still leave room in the 255 bytes of a file's name.
    stem = re.sub(r"[^\w-]", "_", unicodedata.normalize("NFC", PurePath(image).stem))[:50]
    return f"{stem}-{hashlib.sha256(image.encode()).hexdigest()[:8]}-{kind}.png"


def write_mask(folder: Path, image: str, mask: Pixels) -> str:
    """Write class indices (H x W) as a PNG.

    Args:
        folder: Where it goes.
        image: The image's id, which may be any text.
        mask: uint8, H x W.

    Returns:
        The file's name.
    """
    name = picture_name(image, "mask")
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask).save(folder / name)
    return name


def read_mask(folder: Path, name: str) -> Pixels:
    """Read what `write_mask` wrote: uint8, H x W.

    Raises:
        EvaluationError: If it can't be read.
    """
    file = folder / Path(name).name
    try:
        with open_image(file) as image:
            return np.array(image)
    except (OSError, ValueError) as error:
        raise EvaluationError("a predicted mask can't be read", where=str(file), found=str(error)) from error


def encode_runs(chosen: NDArray[np.bool_]) -> dict[str, list[int]]:
    """COCO's uncompressed run-length encoding: lengths of runs down the columns, zeros first.

    Args:
        chosen: H x W.
    """
    flat = chosen.ravel(order="F")
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    runs = np.diff(np.concatenate([[0], edges, [flat.size]])).tolist()
    if flat.size and flat[0]:
        runs = [0, *runs]
    return {"size": list(chosen.shape), "counts": runs}
