"""Pooled features of a spec's pretrained backbone, from the activation cache where they are in it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from transferflow.data.records import SPLITS, DatasetSnapshot, SplitName
from transferflow.data.snapshot.rows import Row
from transferflow.data.transforms.evaluation import EvalTransform
from transferflow.errors import EvaluationError
from transferflow.evaluation.pictures import pick_evenly
from transferflow.models.classifier import ImageClassifier
from transferflow.spec import ExperimentSpec
from transferflow.stages.context import RunContext
from transferflow.stages.progress import logger
from transferflow.stages.split_images import build_split_images, eval_transform_of
from transferflow.stages.train.job import activation_room
from transferflow.stages.train.settings import cache_setting
from transferflow.stages.train.settle import known_settings
from transferflow.stages.train.validation_inputs import ValidationInputs
from transferflow.tasks.build import build_parts
from transferflow.training.activations.cache import CachedLoader
from transferflow.training.activations.job import build_frozen_part
from transferflow.training.device import pick_device
from transferflow.training.loop.build import arithmetic_of

MOST_IMAGES = 10_000
"""Training images, and validation images, whose features are kept, evenly picked."""


@dataclass(frozen=True)
class Features:
    """Features of a split.

    Attributes:
        rows: The images.
        values: float32, images x features.
    """

    rows: tuple[Row, ...]
    values: NDArray[np.float32]


def compute_features(
    spec: ExperimentSpec, context: RunContext, snapshot: DatasetSnapshot
) -> Mapping[SplitName, Features]:
    """Features of every split by the backbone as its weights came, in the eval transform.

    Args:
        spec: Its backbone, and how images are loaded.
        context: Surroundings of the run.
        snapshot: The data set.

    Raises:
        WeightsError: If the weights are not to be had.
        EvaluationError: If the model is no backbone with a head.
    """
    parts = build_parts(spec, snapshot.classes, pretrained=True)
    model = parts.model
    if not isinstance(model, ImageClassifier):
        raise EvaluationError("a model without a head has no features for a baseline", where="head.kind")
    # As in feature extraction, whose activations are the same: what a training has kept is found.
    model.backbone.requires_grad_(False)
    model.to(pick_device(spec.training.device)).eval()
    transform = eval_transform_of(spec, parts.preprocessing)
    return {split: _of_split(spec, context, snapshot, split, transform, model) for split in SPLITS}


def _of_split(
    spec: ExperimentSpec,
    context: RunContext,
    snapshot: DatasetSnapshot,
    split: SplitName,
    transform: EvalTransform,
    model: ImageClassifier,
) -> Features:
    images = build_split_images(spec, snapshot, split, transform, context.decoded_images)
    rows = images.loader.dataset.rows
    kept = set(range(len(rows)) if split == "test" else pick_evenly(range(len(rows)), MOST_IMAGES))
    logger.info("evaluate: features of %d %s images for the baselines", len(rows), split)
    settings = known_settings(spec, context, snapshot.counts)
    frozen, cached = build_frozen_part(settings, images.loader), None
    if cache_setting(spec) != "off":
        cached = CachedLoader(
            images.loader, activation_room(spec, context), frozen, views=1, lasts=lambda _: 2
        )
    device = pick_device(settings.device)
    shown = ValidationInputs(images, model, frozen, cached, arithmetic_of(settings, device), device)
    found, place = [np.zeros((0, model.backbone.num_features), np.float32)], 0
    with tempfile.TemporaryDirectory() as folder:
        inputs = shown.inputs(model, Path(folder), (0, len(images.loader)))
        with torch.inference_mode(), _features_of(model) as features:
            for batch in inputs.batches:
                inputs.ask(model, batch)
                values = features.pop().float().cpu().numpy()
                found.append(values[[place + number in kept for number in range(len(values))]])
                place += len(values)
    return Features(tuple(row for number, row in enumerate(rows) if number in kept), np.concatenate(found))


@contextmanager
def _features_of(model: ImageClassifier) -> Iterator[list[Tensor]]:
    """Collect what the head is given, as the forward pass goes on."""
    found: list[Tensor] = []

    def keep(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        found.append(inputs[0])

    handle = model.head.register_forward_pre_hook(keep)
    try:
        yield found
    finally:
        handle.remove()
