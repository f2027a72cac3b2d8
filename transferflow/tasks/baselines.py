"""Simple answers to a task whose answer is about the image as a whole, in the form of its predictions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

import numpy as np
import pyarrow as pa

from transferflow.data.snapshot.rows import Row
from transferflow.evaluation.probes import Link
from transferflow.evaluation.statistics.bootstrap import FloatArray
from transferflow.spec.sections.task import (
    ClassificationTask,
    DetectionTask,
    RegressionTask,
    SegmentationTask,
    Task,
)


def link_of(task: Task) -> Link:
    """What leads scores to the task's answers.

    Raises:
        TypeError: If its answers are not about the image as a whole.
    """
    match task:
        case ClassificationTask(multilabel=several):
            return "sigmoid" if several else "softmax"
        case RegressionTask():
            return "identity"
        case DetectionTask() | SegmentationTask():
            raise TypeError(f"{task.kind} has no answer about the image as a whole")
        case _:
            assert_never(task)


def build_targets(task: Task, rows: Sequence[Row], classes: Sequence[str]) -> FloatArray:
    """The truth as images x outputs: 0 or 1 per class, or the number."""
    if task.truth.is_number:
        return np.array([[row.number] for row in rows], np.float64)
    place = {name: number for number, name in enumerate(classes)}
    targets = np.zeros((len(rows), len(classes)))
    for number, row in enumerate(rows):
        targets[number, [place[label] for label in row.labels]] = 1.0
    return targets


def build_answers(task: Task, ids: Sequence[str], answers: FloatArray) -> pa.Table:
    """Answers as a table of predictions.

    Args:
        task: The task.
        ids: Of the images.
        answers: Images x outputs: probabilities, or numbers.
    """
    if task.truth.is_number:
        return pa.table({"id": pa.array(ids, pa.string()), "value": answers[:, 0]})
    floats = pa.list_(pa.float32(), answers.shape[1])
    # The mean of rounded targets may end a little above 1.
    probabilities = np.clip(answers, 0.0, 1.0).astype(np.float32)
    column = pa.array(list(probabilities), floats)
    return pa.table({"id": pa.array(ids, pa.string()), "probabilities": column})
