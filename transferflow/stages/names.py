"""Names in a spec that only the data can confirm: they are looked up as soon as the data is listed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from transferflow.errors import PlanError, Problem
from transferflow.spec import ExperimentSpec
from transferflow.spec.wording import did_you_mean
from transferflow.spec.yaml.tree import path_text


def require_known_classes(spec: ExperimentSpec, classes: Sequence[str]) -> None:
    """Refuse weights of classes that the data has not, and a threshold between more than two.

    Args:
        spec: The spec.
        classes: Class names of the data.

    Raises:
        PlanError: With a problem for each such name.
    """
    truth = spec.task.truth
    if spec.evaluation.thresholds is not None and len(classes) != 2 and not truth.several:
        raise PlanError(
            "a threshold decides between two classes, or about each of several labels",
            where=path_text(("evaluation", "thresholds")),
            found=f"{len(classes)} classes, of which an image has one",
            hint="leave it out: the likeliest class is the answer",
        )
    weights = spec.training.class_weights
    if not isinstance(weights, Mapping):
        return
    problems = [
        Problem(
            f"the data has no class {name!r}, so this would weigh nothing",
            where=path_text(("training", "class_weights", name)),
            found=name,
            allowed=", ".join(classes),
            hint=did_you_mean(name, classes),
        )
        for name in weights
        if name not in classes
    ]
    if problems:
        raise PlanError.from_problems(problems)
