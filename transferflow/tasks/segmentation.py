"""Semantic segmentation: a class for every pixel."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from transferflow.data.batch import Batch
from transferflow.data.geometry import Pixels
from transferflow.data.records import DatasetSnapshot
from transferflow.errors import PlanError, TrainingError
from transferflow.models.segmentation.build import build_segmenter
from transferflow.models.segmentation.losses import cross_entropy, dice_loss
from transferflow.spec import ExperimentSpec
from transferflow.spec.head import SegmentationHead
from transferflow.spec.task import SegmentationTask
from transferflow.tasks.base import ModelParts, PredictionInputs
from transferflow.tasks.segmentation_truth import pixel_weights

SCHEMA = pa.schema([("id", pa.string()), ("mask", pa.string())])


class Segmentation:
    """Binds torchvision's segmenters or a light one, Dice and cross-entropy, and metrics by image."""

    def __init__(self, ignore_index: int) -> None:
        self.ignore_index = ignore_index

    def build_model(
        self, spec: ExperimentSpec, classes: Sequence[str], *, pretrained: bool, device: str = "cpu"
    ) -> ModelParts:
        """Build backbone, decoder, auxiliary head and head."""
        built = build_segmenter(
            _head(spec),
            spec.backbone,
            num_classes=len(classes),
            channels=spec.data.channels,
            image_size=spec.data.image_size,
            pretrained=pretrained,
            seed=spec.training.seed,
            device=device,
        )
        return ModelParts(built.model, built.groups, built.preprocessing)

    def build_losses(
        self, spec: ExperimentSpec, classes: Sequence[str], snapshot: DatasetSnapshot
    ) -> Callable[[nn.Module, Batch], Mapping[str, Tensor]]:
        """Cross-entropy, Dice and the auxiliary loss, each with its share of the sum."""
        head = _head(spec)
        weights = pixel_weights(spec.training.class_weights, snapshot, self.ignore_index)

        def mixed(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
            scale = None if weights is None else weights.to(logits.device)
            return (
                (1 - head.dice_weight) * cross_entropy(logits, targets, scale, self.ignore_index),
                head.dice_weight * dice_loss(logits, targets, self.ignore_index),
            )

        def losses(model: nn.Module, batch: Batch) -> Mapping[str, Tensor]:
            if not isinstance(batch.targets, Tensor):
                raise TrainingError("segmentation targets are one tensor per batch")
            logits = model(batch.images)
            entropy, dice = mixed(logits["out"].float(), batch.targets)
            found = {"cross_entropy": entropy, "dice": dice}
            if "aux" in logits:
                auxiliary = sum(mixed(logits["aux"].float(), batch.targets), torch.zeros(()).to(entropy))
                found["auxiliary"] = head.auxiliary_weight * auxiliary
            return found

        return losses

    def predict(self, spec: ExperimentSpec, model: nn.Module, inputs: PredictionInputs) -> pa.Table:
        """One row per image: `id` and `mask`, a PNG of class indices at the original size."""
        device = next(model.parameters()).device
        rows: list[dict[str, str]] = []
        with torch.inference_mode():
            for batch in inputs.batches:
                logits = model(batch.images.to(device))["out"].float()
                for image, scores in zip(batch.ids, logits, strict=True):
                    mask = classify_pixels(scores, inputs, image)
                    rows.append({"id": image, "mask": _write_mask(inputs.folder, image, mask)})
        return pa.Table.from_pylist(rows, schema=SCHEMA)


def build_segmentation(task: SegmentationTask) -> Segmentation:
    """Build from the `task` section."""
    return Segmentation(task.ignore_index)


def classify_pixels(scores: Tensor, inputs: PredictionInputs, image: str) -> Pixels:
    """Best class of every pixel of the original image.

    The scores, not the classes, are led back to the original size: borders between classes stay smooth.

    Args:
        scores: Logits of one image in the model's square, classes x H x W.
        inputs: Knows the transform and the original sizes.
        image: The image's id.

    Returns:
        uint8, height x width.
    """
    width, height = inputs.sizes[image]
    rows, columns = inputs.transform.resized((height, width))
    whole = scores[:, :rows, :columns]
    best = torch.full((height, width), -torch.inf, device=scores.device)
    found = torch.zeros((height, width), dtype=torch.uint8, device=scores.device)
    for number, plane in enumerate(whole):  # one class at a time: large images do not fit all at once
        enlarged = F.interpolate(plane[None, None], (height, width), mode="bilinear", align_corners=False)
        better = enlarged[0, 0] > best
        best = torch.where(better, enlarged[0, 0], best)
        found[better] = number
    return np.asarray(found.cpu().numpy())


def _head(spec: ExperimentSpec) -> SegmentationHead:
    if not isinstance(spec.head, SegmentationHead):
        raise PlanError(f"the head {spec.head.kind} can't be built for segmentation", where="head.kind")
    return spec.head


def _write_mask(folder: Path, image: str, mask: Pixels) -> str:
    # An id may be any path: the file's name must not be.
    name = f"{hashlib.sha256(image.encode()).hexdigest()[:24]}.png"
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask).save(folder / name)
    return name
