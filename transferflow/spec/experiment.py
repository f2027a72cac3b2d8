"""The whole spec: its sections, and the rules that span them."""

from __future__ import annotations

from typing import Any, Self

from pydantic import model_validator

from transferflow.spec.rules.all import cross_section_problems
from transferflow.spec.sections.whole import Sections


class ExperimentSpec(Sections):
    """One experiment: what to train, on what, how, and what it takes to be promoted."""

    @model_validator(mode="after")
    def _sections_agree(self) -> Self:
        problems = cross_section_problems(self)
        if problems:
            raise CrossSectionError(problems)
        return self

    def canonical(self, *sections: str) -> dict[str, Any]:
        """Return the named sections as plain JSON data, for a stage's key."""
        return self.model_dump(mode="json", include=set(sections))


class CrossSectionError(ValueError):
    """Carries `(key path, message)` for each rule that spans sections and is broken."""

    def __init__(self, problems: list[tuple[tuple[str, ...], str]]) -> None:
        self.problems = problems
        super().__init__("; ".join(f"{'.'.join(path)}: {message}" for path, message in problems))
