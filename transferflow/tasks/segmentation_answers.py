"""The answers of a segmenter: a class for every pixel of the image, whole or in tiles."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from transferflow.data.files.geometry import Pixels, resize_mask
from transferflow.data.loading.batch import Batch
from transferflow.tasks.base import PredictionInputs
from transferflow.tasks.tiling import OVERLAP, Tile, decide_tiles, merge_tile_masks


def read_masks(model: nn.Module, inputs: PredictionInputs) -> Iterator[tuple[str, Pixels]]:
    """Id of each image, and the class of each of its pixels."""
    side = inputs.transform.tile
    with torch.inference_mode():
        for batch in inputs.batches:
            if side is not None and max(batch.images.shape[-2:]) > side:
                yield batch.ids[0], _in_tiles(model, inputs, batch, side)
                continue
            logits = inputs.ask(model, batch)["out"].float()
            for image, scores in zip(batch.ids, logits, strict=True):
                yield image, classify_pixels(scores, inputs, image)


def _in_tiles(model: nn.Module, inputs: PredictionInputs, batch: Batch, side: int) -> Pixels:
    """Mask of a batch of one image, which the model sees in tiles of `side` pixels."""
    height, width = batch.images.shape[-2:]
    parts = []
    for tile in decide_tiles(width, height, (side, side), OVERLAP):
        scores = inputs.ask(model, _cut(batch, tile))["out"][0]
        parts.append((tile, scores.argmax(0).to(torch.uint8).cpu().numpy()))
    columns, rows = inputs.mask_size(batch.ids[0])
    return resize_mask(merge_tile_masks(parts, width, height), (rows, columns))


def _cut(batch: Batch, tile: Tile) -> Batch:
    """The part of an image, and of its true mask where it has one, that a tile covers."""
    down, across = slice(tile.top, tile.top + tile.height), slice(tile.left, tile.left + tile.width)
    targets = batch.targets
    if isinstance(targets, Tensor) and targets.ndim == 3:
        targets = targets[:, down, across]
    return replace(batch, images=batch.images[:, :, down, across], targets=targets)


def classify_pixels(scores: Tensor, inputs: PredictionInputs, image: str) -> Pixels:
    """Best class of every pixel of the image, in the size that is asked for: as a rule its own.

    The scores, not the classes, are led back to that size: borders between classes stay smooth.

    Args:
        scores: Logits of one image in the model's square, classes x H x W.
        inputs: Knows the transform and the sizes.
        image: The image's id.

    Returns:
        uint8, height x width.
    """
    width, height = inputs.sizes[image]
    rows, columns = inputs.transform.resized((height, width))
    width, height = inputs.mask_size(image)
    whole = scores[:, :rows, :columns]
    best = torch.full((height, width), -torch.inf, device=scores.device)
    found = torch.zeros((height, width), dtype=torch.uint8, device=scores.device)
    for number, plane in enumerate(whole):  # one class at a time: large images do not fit all at once
        enlarged = F.interpolate(plane[None, None], (height, width), mode="bilinear", align_corners=False)
        better = enlarged[0, 0] > best
        best = torch.where(better, enlarged[0, 0], best)
        found[better] = number
    return np.asarray(found.cpu().numpy())
