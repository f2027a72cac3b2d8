"""Rules that span sections, each a pure function from the spec to what breaks it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice

from transferflow.limits import MAX_PROBLEMS
from transferflow.spec.rules.data import DATA_RULES
from transferflow.spec.rules.gate import GATE_RULES
from transferflow.spec.rules.model import MODEL_RULES
from transferflow.spec.rules.secrets import SECRET_RULES
from transferflow.spec.rules.training import TRAINING_RULES
from transferflow.spec.sections.base import Found
from transferflow.spec.sections.whole import Sections

Rule = Callable[[Sections], Iterator[Found]]

_RULES: tuple[Rule, ...] = (*DATA_RULES, *MODEL_RULES, *TRAINING_RULES, *GATE_RULES, *SECRET_RULES)


def cross_section_problems(spec: Sections) -> list[Found]:
    """The rules between sections that the spec breaks, with the key path to blame.

    Of one rule no more than an error can carry: long lists of names can break it at every name.
    """
    return [found for rule in _RULES for found in islice(rule(spec), MAX_PROBLEMS + 1)]
