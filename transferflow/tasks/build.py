"""From the `task` section to the task."""

from __future__ import annotations

from typing import assert_never

from transferflow.spec.sections.task import ClassificationTask, DetectionTask, SegmentationTask
from transferflow.tasks.base import VisionTask


def build_task(task: ClassificationTask | DetectionTask | SegmentationTask) -> VisionTask:
    """Build the task; each one's module is loaded only when it is asked for."""
    match task:
        case ClassificationTask():
            from transferflow.tasks.classification import build_classification

            return build_classification(task)
        case DetectionTask():
            from transferflow.tasks.detection import build_detection

            return build_detection(task)
        case SegmentationTask():
            from transferflow.tasks.segmentation import build_segmentation

            return build_segmentation(task)
        case _:
            assert_never(task)
