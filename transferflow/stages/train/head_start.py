"""Where the last layer starts: at class means of the features, or at the champion's rows."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from transferflow.data.records import DatasetSnapshot
from transferflow.data.transforms.evaluation import EvalTransform
from transferflow.errors import PlanError
from transferflow.models.classifier import ImageClassifier
from transferflow.models.clip import load_text_classifier, set_text_embeddings
from transferflow.models.heads import carry_rows, set_prototypes
from transferflow.registry.base import RegisteredVersion
from transferflow.spec import ExperimentSpec
from transferflow.spec.deciding import keeps_published_head
from transferflow.spec.sections.head import LinearHead
from transferflow.stages.context import RunContext
from transferflow.stages.progress import logger
from transferflow.stages.split_images import split_loader
from transferflow.tasks.base import ModelParts
from transferflow.tasks.bundle import load_bundle
from transferflow.training.device import pick_device


def apply_head_start(
    spec: ExperimentSpec,
    context: RunContext,
    snapshot: DatasetSnapshot,
    parts: ModelParts,
    start: RegisteredVersion | None,
    transform: EvalTransform,
) -> None:
    """Set the last layer of a classifier as `head.init` and `head.warm_start` say; the others stay.

    Args:
        spec: Its `head` section and backbone count.
        context: Surroundings of the run.
        snapshot: What to train on.
        parts: The model; its last layer is changed.
        start: The version whose head rows are carried over, as the train key names it.
        transform: The eval transform.

    Raises:
        PlanError: If nothing is trained and a class has no row that knows it.
    """
    model = parts.model
    if not isinstance(model, ImageClassifier) or not isinstance(spec.head, LinearHead):
        return
    if spec.head.init == "prototypes":
        set_prototypes(model.head, *_training_features(spec, context, snapshot, model, transform))
    elif spec.head.init == "text":
        known = load_text_classifier(spec.backbone, model.backbone, snapshot.classes, spec.head.prompts)
        features, _ = _training_features(spec, context, snapshot, model, transform)
        set_text_embeddings(model.head, known, features)
    kept: tuple[str, ...] = ()
    if start is not None:
        bundle = load_bundle(context.registry.bundle(start))
        old_head = bundle.model.get_submodule("head").state_dict()
        kept = carry_rows(model.head, old_head, bundle.classes, snapshot.classes)
        logger.info("head: rows of %s carried over from version %d", ", ".join(kept), start.version)
    if spec.training.epochs == 0 and not (spec.head.starts_with_classes or keeps_published_head(spec)):
        _require_every_row(kept, snapshot.classes)


def _require_every_row(kept: Collection[str], classes: Sequence[str]) -> None:
    """Refuse to measure a head that never heard of a class.

    Raises:
        PlanError: If a class has no row that was carried over.
    """
    new = [name for name in classes if name not in kept]
    if new:
        raise PlanError(
            "nothing is trained, and the champion has no row for each class",
            where="training.epochs",
            found=f"0 epochs; without a row: {', '.join(new)}",
            hint="train for an epoch or more, or start the head by `head.init: prototypes`",
        )


def _training_features(
    spec: ExperimentSpec,
    context: RunContext,
    snapshot: DatasetSnapshot,
    model: ImageClassifier,
    transform: EvalTransform,
) -> tuple[Tensor, Tensor]:
    """Pooled features (N x num_features) and targets of all training images."""
    device = pick_device(spec.training.device)
    loader = split_loader(spec, snapshot, "train", transform, context.decoded_images)
    backbone = model.backbone.to(device).eval()
    features: list[Tensor] = []
    labels: list[Tensor] = []
    with torch.no_grad():
        for batch in loader.epoch(0):
            if not isinstance(batch.targets, Tensor):
                raise TypeError("classification targets are one tensor per batch")
            features.append(backbone(batch.images.to(device)).float().cpu())
            labels.append(batch.targets)
    backbone.cpu()
    return torch.cat(features), torch.cat(labels)
