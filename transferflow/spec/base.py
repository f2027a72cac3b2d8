"""What every spec section shares: frozen, closed, strict about types, described by its docstrings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictFloat, StrictInt, StrictStr

Text = Annotated[StrictStr, Field(min_length=1)]
Flag = StrictBool
Count = Annotated[StrictInt, Field(ge=1)]
Natural = Annotated[StrictInt, Field(ge=0)]
Number = Annotated[StrictFloat, Field(allow_inf_nan=False)]
Positive = Annotated[StrictFloat, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[StrictFloat, Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[StrictFloat, Field(ge=0, le=1, allow_inf_nan=False)]
Name = Annotated[StrictStr, Field(pattern=r"^[a-z0-9-]+$", max_length=64)]


class Section(BaseModel):
    """Base of every section: frozen, no unknown keys, field docstrings become schema descriptions."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, use_attribute_docstrings=True, allow_inf_nan=False
    )


def tag_of(field: str, default: str) -> Callable[[object], str]:
    """Discriminate a union by `field`, which the user may leave out to mean `default`."""

    def pick(value: object) -> str:
        if isinstance(value, Mapping):
            tag = value.get(field, default)
        else:
            tag = getattr(value, field, default)
        return tag if isinstance(tag, str) else repr(tag)

    return pick
