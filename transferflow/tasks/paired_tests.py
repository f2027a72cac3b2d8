"""Tests of two models on the same images, beside the paired bootstrap that every metric has."""

from __future__ import annotations

from dataclasses import dataclass

from transferflow.evaluation.classification.delong import delong_difference
from transferflow.evaluation.statistics.bootstrap import Statistic
from transferflow.evaluation.statistics.clusters import IntArray
from transferflow.evaluation.statistics.mcnemar import mcnemar_p_value, right_or_wrong
from transferflow.spec.sections.task import ClassificationTask, Task
from transferflow.tasks.base import SplitPredictions
from transferflow.tasks.classification_truth import column_matrix, hot_targets


@dataclass(frozen=True)
class PairedTest:
    """What a test of its own says of a metric's difference.

    Attributes:
        name: What it is called.
        p_value: Two-sided, of the hypothesis that there is no difference.
        interval: Of the difference, challenger minus champion; `None` where it gives none.
    """

    name: str
    p_value: float
    interval: tuple[float, float] | None = None


def mcnemar_test(metric: str, champion: Statistic, challenger: Statistic, images: int) -> PairedTest | None:
    """McNemar's exact test, for a share of right images; `None` for any other metric.

    Args:
        metric: Name of the metric.
        champion: It, over the images that are compared on.
        challenger: The same of the other model.
        images: Number of them.
    """
    if metric != "accuracy":
        return None
    before, after = right_or_wrong(champion, images), right_or_wrong(challenger, images)
    if before is None or after is None:
        return None
    return PairedTest("McNemar's exact test", mcnemar_p_value(before, after))


def delong_test(
    task: Task,
    metric: str,
    champion: SplitPredictions,
    challenger: SplitPredictions,
    kept: IntArray,
    confidence: float,
) -> PairedTest | None:
    """DeLong's test, for the AUROC of two exclusive classes; `None` for anything else.

    Args:
        task: The task.
        metric: Name of the metric.
        champion: Its predictions, over the challenger's classes.
        challenger: Its predictions.
        kept: Numbers of the images that are compared on.
        confidence: Coverage of the interval, 0..1.
    """
    is_binary = (
        isinstance(task, ClassificationTask) and not task.multilabel and len(challenger.snapshot.classes) == 2
    )
    if metric != "auroc" or not is_binary:
        return None
    before, after = (column_matrix(one.table, "probabilities")[kept, 1] for one in (champion, challenger))
    found = delong_difference(before, after, hot_targets(challenger)[kept, 1], confidence)
    return None if found is None else PairedTest("DeLong's test", found.p_value, (found.low, found.high))
