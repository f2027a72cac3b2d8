"""What a stage hands on: a small JSON reference, never a model or a tensor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

StageName = Literal["prepare", "train", "evaluate", "register"]
STAGES: tuple[StageName, ...] = get_args(StageName)
"""The stages in the order in which they run; each gets the outcomes of those before it."""


@dataclass(frozen=True)
class StageOutcome:
    """A finished stage.

    Attributes:
        stage: Which stage.
        key: Its content key.
        path: Folder of its artifact.
        reused: Whether the artifact was there already.
        seconds: Wall time of this call.
        summary: The few figures that a person wants to see; plain JSON.
    """

    stage: StageName
    key: str
    path: str
    reused: bool
    seconds: float
    summary: Mapping[str, Any]

    @property
    def folder(self) -> Path:
        """Folder of the artifact."""
        return Path(self.path)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON data."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> StageOutcome:
        """Rebuild from `to_json`."""
        return cls(**{name: data[name] for name in cls.__dataclass_fields__})
