"""Drift: do new images look to the champion like those that its training was measured on?

It computes on the CPU: a look holds no GPU, and the figures are the same wherever it takes place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pyarrow.compute as pc
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from transferflow.data.loading.seeds import derive_seed
from transferflow.data.records import DatasetSnapshot
from transferflow.data.snapshot.manifest import read_rows, read_table
from transferflow.data.snapshot.pixels import read_image
from transferflow.data.snapshot.rows import Row
from transferflow.errors import EvaluationError
from transferflow.evaluation.statistics.bootstrap import FloatArray
from transferflow.evaluation.statistics.discrepancy import compare_samples
from transferflow.inference.batches import BATCH, stack_batch
from transferflow.models.cut.entry import compute_features
from transferflow.spec import ExperimentSpec
from transferflow.spec.deciding import registered_model
from transferflow.spec.sections.evaluation import Drift
from transferflow.stages.context import RunContext
from transferflow.stages.progress import logger
from transferflow.stages.refresh.decide import DriftFound
from transferflow.tasks.bundle import Bundle, load_bundle

_Hook = Callable[[nn.Module, object, object], None]
_LEAST = 2
"""Images on each side, without which there is no unbiased estimate."""


def measure_drift(
    spec: ExperimentSpec, context: RunContext, rule: Drift, base: DatasetSnapshot, now: DatasetSnapshot
) -> DriftFound:
    """Hold images that are new against those of the last training's validation and test split.

    Images that a model was trained on look different to it from all others, drift or not; they are left
    out. So are further images of a group: they resemble each other, and the test counts on independence.

    Args:
        spec: Says whose champion looks.
        context: Surroundings.
        rule: How many images.
        base: The last training's snapshot.
        now: The data set as it is.

    Raises:
        DataError: If an image can't be read.
        RegistryError: If the champion's files can't be had.
        StoreError: If they are damaged.
        EvaluationError: If the champion's features are not finite.
    """
    new, before = draw_images(base, now, rule.images, derive_seed(spec.training.seed, "drift"))
    if min(len(new), len(before)) < _LEAST:
        return DriftFound(rule.images, len(new), len(before), note=_too_few(len(new), len(before)))
    champion = context.registry.champion(registered_model(spec))
    if champion is None:
        return DriftFound(rule.images, note=f"no version of {registered_model(spec)} is the champion")
    logger.info("refresh: features of %d images for drift", len(new) + len(before))
    bundle = load_bundle(context.registry.bundle(champion))
    seed = derive_seed(spec.training.seed, "permutations")
    found = compare_samples(compute_embedding(bundle, new), compute_embedding(bundle, before), seed=seed)
    return DriftFound(
        rule.images, len(new), len(before), round(found.statistic, 6), found.p_value, champion.uri
    )


def _too_few(new: int, before: int) -> str:
    return (
        f"it takes {_LEAST} new images and {_LEAST} that were validated or tested on, each of its own "
        f"group; there are {new} and {before}"
    )


def draw_images(
    base: DatasetSnapshot, now: DatasetSnapshot, most: int, seed: int
) -> tuple[list[Row], list[Row]]:
    """New images, and images that the last training was validated and tested on, known by their content.

    Args:
        base: The last training's snapshot.
        now: The data set as it is; an image that is gone from it is in neither list.
        most: Length of each list.
        seed: Draws them.
    """
    table = read_table(base, ["sha256", "split"])
    known = set(table["sha256"].to_pylist())
    unseen = set(table.filter(pc.not_equal(table["split"], "train"))["sha256"].to_pylist())
    rows = read_rows(now)
    new = [row for row in rows if row.sha256 not in known]
    return _draw(new, most, seed), _draw([row for row in rows if row.sha256 in unseen], most, seed)


def _draw(rows: Sequence[Row], most: int, seed: int) -> list[Row]:
    """At most so many rows, at most one of a group and one of a content."""
    found: dict[tuple[str, str], Row] = {}
    for place in np.random.default_rng(seed).permutation(len(rows)):
        row = rows[place]
        found.setdefault(("content", row.sha256) if row.group is None else ("group", row.group), row)
        if len(found) == most:
            break
    return list(found.values())


def compute_embedding(bundle: Bundle, rows: Sequence[Row]) -> FloatArray:
    """What a model's backbone makes of images, in the eval transform: float64, images x features.

    Feature maps are averaged over their places, and those of several levels put side by side.

    Raises:
        DataError: If an image can't be read.
        EvaluationError: If a feature is not finite.
    """
    kept: list[object] = []
    handle = bundle.model.get_submodule("backbone").register_forward_hook(_keeping(kept))
    try:
        with torch.inference_mode():
            values = [_pooled(bundle.model, images, kept) for images in _batches(bundle, rows)]
    finally:
        handle.remove()
    found: FloatArray = torch.cat(values).double().numpy()
    if not np.isfinite(found).all():
        raise EvaluationError("the champion's features of some images are not finite", where="drift")
    return found


def _keeping(kept: list[object]) -> _Hook:
    def keep(_module: nn.Module, _inputs: object, output: object) -> None:
        kept.append(output)

    return keep


def _batches(bundle: Bundle, rows: Sequence[Row]) -> Iterator[Tensor]:
    transform = bundle.transform
    size = 1 if transform.keeps_shape else BATCH
    for start in range(0, len(rows), size):
        batch = rows[start : start + size]
        images = [transform(read_image(row, transform.channels, transform.intensity)) for row in batch]
        yield stack_batch(images, [row.id for row in batch]).images


def _pooled(model: nn.Module, images: Tensor, kept: list[object]) -> Tensor:
    compute_features(model, images)
    levels = [level.float() for level in tree_leaves(kept.pop()) if isinstance(level, Tensor)]
    return torch.cat([level.flatten(2).mean(2) if level.ndim > 2 else level for level in levels], dim=1)
