"""What a report says of one task and not of another, as plain data: tasks declare it, the report draws it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

FigureName = Literal[
    "confusion",
    "pixel_confusion",
    "reliability",
    "class_f1",
    "class_ap",
    "class_iou",
    "roc",
    "precision_recall",
    "box_precision_recall",
    "least_scores",
    "object_sizes",
    "image_iou",
    "truth_and_prediction",
]
"""A figure of an evaluation; one whose numbers the evaluation has not is left out."""


@dataclass(frozen=True)
class ReportTraits:
    """What a report says of a task.

    Attributes:
        figures: Its figures, in order.
        class_note: What a dash in the class table stands for, and what counts in the means.
        named: What the names in the data table are.
        counted: What the data table counts of each class.
        first_drawn: Place of the first class that pictures draw in colour; `None` where nothing is drawn.
    """

    figures: tuple[FigureName, ...]
    class_note: str
    named: Literal["class", "number"] = "class"
    counted: Literal["images", "boxes"] = "images"
    first_drawn: int | None = None
