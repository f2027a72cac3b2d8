"""What a preflight has found, as plain data: for the terminal, the report and machines alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

Verdict = Literal["fine", "look", ""]


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: What, in a word or two.
        found: What was found, in words.
        expected: What is expected, in words; empty where that is nothing to judge.
        warning: What is off, and what to look at; empty where nothing is.
    """

    name: str
    found: str
    expected: str = ""
    warning: str = ""

    @property
    def verdict(self) -> Verdict:
        """`look` where something is off; nothing where there is nothing to judge."""
        if self.warning:
            return "look"
        return "fine" if self.expected else ""


@dataclass(frozen=True)
class Preflight:
    """What was found on one batch.

    Attributes:
        checks: In the order in which a person reads them.
        figures: What was measured, by name: `loss` and `loss_<name>`, `step_seconds`, `epoch_seconds` and
            `training_seconds` (at most), `memory_bytes`.
    """

    checks: tuple[Check, ...]
    figures: Mapping[str, float]

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is off, a sentence each."""
        return tuple(check.warning for check in self.checks if check.warning)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON data."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Preflight:
        """Rebuild from `to_json`.

        Raises:
            TypeError: If it has other keys.
            KeyError: If it lacks one.
        """
        return cls(tuple(Check(**check) for check in data["checks"]), dict(data["figures"]))
