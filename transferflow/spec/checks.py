"""Rules that span sections, each a pure function from the spec to what breaks it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from transferflow.spec.base import Found
from transferflow.spec.checks_data import DATA_RULES
from transferflow.spec.checks_layers import LAYER_RULES
from transferflow.spec.checks_training import TRAINING_RULES

if TYPE_CHECKING:
    from transferflow.spec.experiment import ExperimentSpec

Rule = Callable[["ExperimentSpec"], Iterator[Found]]

_RULES: tuple[Rule, ...] = (*DATA_RULES, *LAYER_RULES, *TRAINING_RULES)


def cross_section_problems(spec: ExperimentSpec) -> list[Found]:
    """Every rule between sections that the spec breaks, with the key path to blame."""
    return [found for rule in _RULES for found in rule(spec)]
