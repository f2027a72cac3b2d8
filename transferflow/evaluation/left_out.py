"""Classes that a mean over classes leaves out: said beside the value, wherever it goes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from transferflow.evaluation.results import Evaluation

_SHOWN = 10


def say_left_out(evaluation: Evaluation, columns: Mapping[str, str]) -> Evaluation:
    """The evaluation, with a reason at each mean that leaves out a class.

    A class can be measured where the images show it or the model names it, as in scikit-learn and COCO. A
    mean over the rest is no statement about all classes, and has to say so.

    Args:
        evaluation: Metrics and the table of classes.
        columns: Metrics that are means over classes, and the column of the table that each is a mean of.
    """
    metrics = dict(evaluation.metrics)
    for metric, column in columns.items():
        missing = [name for name, row in evaluation.per_class.items() if math.isnan(row.get(column, 0.0))]
        if metric in metrics and missing and not metrics[metric].reason:
            shown = ", ".join(map(repr, missing[:_SHOWN])) + (", …" if len(missing) > _SHOWN else "")
            total = len(evaluation.per_class)
            reason = f"mean over {total - len(missing)} of {total} classes; the images say nothing of {shown}"
            metrics[metric] = replace(metrics[metric], reason=reason)
    return replace(evaluation, metrics=metrics)
