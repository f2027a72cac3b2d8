"""How values wider than 8 bits become 0..255."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from transferflow.spec.sections.base import Number, Positive, Section


class FullRange(Section):
    """Map the whole range of the file's integer type to 0..255 (16-bit: divide by 257)."""

    kind: Literal["full_range"] = "full_range"


class Percentile(Section):
    """Map two percentiles of each image to 0 and 255, as is usual in microscopy."""

    kind: Literal["percentile"]
    low: Annotated[Number, Field(ge=0, le=100)] = 0.5
    """Percentile that becomes 0."""
    high: Annotated[Number, Field(ge=0, le=100)] = 99.5
    """Percentile that becomes 255."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"low ({self.low:g}) must be below high ({self.high:g})")
        return self


class Window(Section):
    """Map `level` ± `width` / 2 to 0..255, in the file's units (Hounsfield units for CT)."""

    kind: Literal["window"]
    level: Number
    """Centre of the window."""
    width: Positive
    """Width of the window."""


Intensity = Annotated[FullRange | Percentile | Window, Field(discriminator="kind")]
