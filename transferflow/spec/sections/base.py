"""What every spec section shares: frozen, closed, strict about types, described by its docstrings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated, ClassVar, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
)

from transferflow.spec.class_names import plain_name
from transferflow.spec.wording import Words

Text = Annotated[StrictStr, Field(min_length=1)]
ClassName = Annotated[Text, AfterValidator(plain_name), Field(min_length=1)]
"""As `plain_name` compares names."""
Flag = StrictBool
Count = Annotated[StrictInt, Field(ge=1, le=1_000_000_000)]
Natural = Annotated[StrictInt, Field(ge=0, le=1_000_000_000)]
Seed = Annotated[StrictInt, Field(ge=0, le=2**32 - 1)]
Number = Annotated[StrictFloat, Field(allow_inf_nan=False)]
Positive = Annotated[StrictFloat, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[StrictFloat, Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[StrictFloat, Field(ge=0, le=1, allow_inf_nan=False)]
NAME_WORDS = "lower-case letters, digits and hyphens, at most 64"
Name = Annotated[StrictStr, Field(pattern=r"^[a-z0-9-]+$", max_length=64), Words(NAME_WORDS)]

Found = tuple[tuple[str, ...], str]
"""Key path and message of a rule between sections that is broken."""


class Section(BaseModel):
    """Base of every section: frozen, no unknown keys, field docstrings become schema descriptions."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, use_attribute_docstrings=True, allow_inf_nan=False
    )


def without_repeats(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names as they are.

    Raises:
        ValueError: One of them stands there twice.
    """
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        raise ValueError(f"listed twice: {', '.join(twice)}")
    return names


@dataclass(frozen=True)
class ChosenByKey:
    """A union told apart by the value of `key`, which the user may leave out to mean `default`."""

    __name__: ClassVar[str] = "key"  # pydantic asks every discriminator for it
    key: str
    default: str | None = None

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys that decide."""
        return (self.key,)

    def __call__(self, value: object) -> str:
        """Tag of a mapping or a section."""
        if isinstance(value, Mapping):
            tag = value.get(self.key, self.default)
        else:
            tag = getattr(value, self.key, self.default)
        return tag if isinstance(tag, str) else repr(tag)


@dataclass(frozen=True)
class ChosenByPresence:
    """A union told apart by which of `keys` is there: the first of them is the tag."""

    __name__: ClassVar[str] = "presence"
    keys: tuple[str, ...]
    absent: str

    def __call__(self, value: object) -> str:
        """Tag of a mapping or a section."""
        is_there = value.__contains__ if isinstance(value, Mapping) else partial(hasattr, value)
        return next((key for key in self.keys if is_there(key)), self.absent)


Form = Literal["mapping", "text", "list"]
_FORMS: Mapping[Form, tuple[type, ...]] = {
    "mapping": (Mapping, BaseModel),
    "text": (str,),
    "list": (list, tuple),
}


@dataclass(frozen=True)
class ChosenByForm:
    """A union told apart by whether a mapping (text, list) stands there: one member alone complains."""

    __name__: ClassVar[str] = "form"
    form: Form
    fits: str
    other: str

    def __call__(self, value: object) -> str:
        """Tag of a value."""
        return self.fits if isinstance(value, _FORMS[self.form]) else self.other
