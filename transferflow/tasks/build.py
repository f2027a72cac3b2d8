"""From a spec to its task: the one place that says which sections each task reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

from transferflow.spec import ExperimentSpec
from transferflow.spec.deciding import decide_mask_shape, keeps_published_head
from transferflow.spec.sections.task import (
    ClassificationTask,
    DetectionTask,
    RegressionTask,
    SegmentationTask,
)
from transferflow.tasks.base import ModelParts, VisionTask


def build_task(spec: ExperimentSpec) -> VisionTask:
    """Build the task; each one's module is loaded only when it is asked for.

    Raises:
        PlanError: If the head is another task's.
    """
    match spec.task:
        case ClassificationTask():
            from transferflow.tasks.classification import build_classification

            return build_classification(
                spec.task, spec.head, spec.training, spec.evaluation, keeps_head=keeps_published_head(spec)
            )
        case DetectionTask():
            from transferflow.tasks.detection import build_detection

            return build_detection(
                spec.task, spec.head, spec.evaluation, keeps_head=keeps_published_head(spec)
            )
        case SegmentationTask():
            from transferflow.tasks.segmentation import build_segmentation

            return build_segmentation(
                spec.task,
                spec.head,
                spec.training,
                spec.evaluation,
                keeps_head=keeps_published_head(spec),
                mask_shape=decide_mask_shape(spec),
            )
        case RegressionTask():
            from transferflow.tasks.regression import build_regression

            return build_regression(spec.task, spec.head, spec.evaluation)
        case _:
            assert_never(spec.task)


def build_parts(
    spec: ExperimentSpec, classes: Sequence[str], *, pretrained: bool, device: str = "cpu"
) -> ModelParts:
    """Build the spec's model; `pretrained=False` with `device="meta"` gives shapes alone, in no time.

    Raises:
        WeightsError: If the weights are not to be had.
        PlanError: If there is no such model, or the task can't have it.
    """
    return build_task(spec).build_model(
        spec.backbone, spec.data, classes, seed=spec.training.seed, pretrained=pretrained, device=device
    )
