"""Look at a spec's model, on the meta device: this loads torch, and the library that the model comes from."""

from __future__ import annotations

import math
from collections.abc import Sequence

from transferflow.data.transforms.training import build_train_transform
from transferflow.models.cut.cut import Cut, Uncut
from transferflow.models.cut.find import find_cut
from transferflow.models.spec_weights import needed_weights
from transferflow.spec import ExperimentSpec
from transferflow.stages.plan.defaults import resolved_values
from transferflow.stages.plan.facts import CutFacts, ModelFacts
from transferflow.stages.plan.model_warnings import model_warnings
from transferflow.stages.split_images import eval_transform_of
from transferflow.stages.train.training_plan import compile_training_plan
from transferflow.tasks.base import ModelParts
from transferflow.tasks.build import build_parts
from transferflow.training.freezing import apply_freeze
from transferflow.training.job import FreezeSchedule

_SHAPES = "images keep their shape, so that what is computed of each has another size"


def look_at_model(spec: ExperimentSpec, classes: Sequence[str]) -> ModelFacts:
    """Build the spec's model without its weights, and take down what a plan needs to know of it.

    Args:
        spec: The spec.
        classes: Class names in order.

    Raises:
        PlanError: If there is no such model, or a rule names a layer group that it has not, or the like.
        WeightsError: If the model has no such weights.
    """
    weights = needed_weights(spec)
    parts = build_parts(spec, classes, pretrained=False, device="meta")
    training = compile_training_plan(spec, parts)
    transform = eval_transform_of(spec, parts.preprocessing)
    varied = build_train_transform(spec.augmentation, transform, spec.task.truth.moving)
    warnings = model_warnings(spec, parts, training.rows)
    shape = None if transform.keeps_shape else (transform.channels, *transform.image_size)
    return ModelFacts(
        weights=weights,
        training=training,
        cuts=find_cuts(parts, training.freeze, shape),
        is_varied=varied.is_varied,
        resolved=resolved_values(spec, transform, weights.start),
        warnings=warnings,
    )


def find_cuts(
    parts: ModelParts, freeze: FreezeSchedule, shape: tuple[int, int, int] | None
) -> tuple[CutFacts, ...]:
    """Where the model is cut in each phase; it is in train mode afterwards, all of it training.

    Args:
        parts: The model, on any device.
        freeze: Its freeze schedule.
        shape: Channels, height and width of the images; `None`: each has its own.
    """
    found = []
    for phase in freeze.phases:
        parts.model.train()
        apply_freeze(parts.model, parts.groups, phase, freeze.batch_norm)
        found.append(_facts(Uncut(_SHAPES) if shape is None else find_cut(parts.model, shape)))
    parts.model.train().requires_grad_(True)
    return tuple(found)


def _facts(cut: Cut | Uncut) -> CutFacts:
    if isinstance(cut, Uncut):
        return CutFacts(cut.reason)
    numbers = sum(math.prod(shape) for shape in cut.shapes)
    return CutFacts("", cut.boundary, numbers, cut.operations, cut.all_operations)
