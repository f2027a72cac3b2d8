"""Rules that span sections, each a pure function from the spec to what breaks it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from transferflow.spec.rules.data import DATA_RULES
from transferflow.spec.rules.model import MODEL_RULES
from transferflow.spec.rules.secrets import SECRET_RULES
from transferflow.spec.rules.training import TRAINING_RULES
from transferflow.spec.sections.base import Found
from transferflow.spec.sections.whole import Sections

Rule = Callable[[Sections], Iterator[Found]]

_RULES: tuple[Rule, ...] = (*DATA_RULES, *MODEL_RULES, *TRAINING_RULES, *SECRET_RULES)


def cross_section_problems(spec: Sections) -> list[Found]:
    """Every rule between sections that the spec breaks, with the key path to blame."""
    return [found for rule in _RULES for found in rule(spec)]
