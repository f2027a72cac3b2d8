"""What may stand where in a spec, read off the pydantic models: for merging, messages and the reference.

A shape follows the YAML, not the Python types: a discriminated union is one section with variants, and the
tag that pydantic puts into its error paths has no place in it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, Discriminator, Tag
from pydantic.fields import FieldInfo

from transferflow.spec.sections.base import ChosenByForm, ChosenByKey, ChosenByPresence
from transferflow.spec.wording import describe_scalar, in_words

Chooser = ChosenByKey | ChosenByPresence


@dataclass(frozen=True)
class ScalarShape:
    """A single value.

    Attributes:
        words: What is allowed, as `a whole number, at least 1`.
        choices: The allowed values, when they are listed.
        takes_text: Whether any text will do (an unquoted number is then a likely slip).
    """

    words: str
    choices: tuple[str, ...] = ()
    takes_text: bool = False


@dataclass(frozen=True)
class ListShape:
    """A list; `at_least` is its least length."""

    item: Slot
    words: str
    at_least: int = 0


@dataclass(frozen=True)
class DictShape:
    """A mapping with keys of the user's choice."""

    value: Slot
    words: str


@dataclass(frozen=True)
class SectionShape:
    """A mapping with known keys."""

    model: type[BaseModel]

    @property
    def words(self) -> str:
        """What is allowed, in words."""
        return "a mapping with " + ", ".join(self.model.model_fields)


@dataclass(frozen=True)
class VariantsShape:
    """A section whose keys depend on its tag.

    Attributes:
        chooser: How the tag is found.
        variants: The model of each tag.
    """

    chooser: Chooser
    variants: dict[str, type[BaseModel]] = field(hash=False)

    @property
    def words(self) -> str:
        """What is allowed, in words."""
        if isinstance(self.chooser, ChosenByKey):
            return f"a mapping with `{self.chooser.key}`: {', '.join(self.variants)}"
        keys = dict.fromkeys(key for model in self.variants.values() for key in model.model_fields)
        return f"a mapping with {', '.join(keys)}"


@dataclass(frozen=True)
class EitherShape:
    """One of two, told apart by the form of what stands there."""

    chooser: ChosenByForm
    members: dict[str, Shape] = field(hash=False)

    @property
    def words(self) -> str:
        """What is allowed, in words."""
        return ", or ".join(member.words for member in self.members.values())


Shape = ScalarShape | ListShape | DictShape | SectionShape | VariantsShape | EitherShape


@dataclass(frozen=True)
class Slot:
    """A shape where it is used.

    Attributes:
        shape: What may stand there.
        nullable: Whether null is a value of its own there.
        required: Whether it must be given.
    """

    shape: Shape
    nullable: bool = False
    required: bool = True

    @property
    def words(self) -> str:
        """What is allowed, in words."""
        return f"{self.shape.words}, or null" if self.nullable else self.shape.words


@cache
def slots(model: type[BaseModel]) -> dict[str, Slot]:
    """The slot of each key of a section."""
    return {name: _field_slot(info) for name, info in model.model_fields.items()}


def _field_slot(info: FieldInfo) -> Slot:
    metadata = list(info.metadata)
    if isinstance(info.discriminator, str):
        metadata.append(Discriminator(info.discriminator))
    return _slot(info.annotation, metadata, required=info.is_required())


def _slot(annotation: object, metadata: list[object], *, required: bool = True) -> Slot:
    annotation, inner = _unwrap(annotation)
    metadata = [*inner, *metadata]
    origin = get_origin(annotation)
    if origin not in (Union, UnionType):
        return Slot(_plain_shape(annotation, origin, metadata), required=required)
    members = get_args(annotation)
    others = [member for member in members if member is not NoneType]
    shape = _union_shape(others, metadata)
    return Slot(shape, nullable=len(others) < len(members), required=required)


def _unwrap(annotation: object) -> tuple[Any, list[object]]:
    """Take `Annotated` and the FieldInfo wrappers in it apart, into the bare type and its constraints."""
    metadata: list[object] = []
    while get_origin(annotation) is Annotated:
        annotation, *extra = get_args(annotation)
        flat: list[object] = []
        for item in extra:
            if isinstance(item, FieldInfo):
                flat += item.metadata
                if isinstance(item.discriminator, str):
                    flat.append(Discriminator(item.discriminator))
            else:
                flat.append(item)
        metadata = flat + metadata
    return annotation, metadata


def _union_shape(members: list[object], metadata: list[object]) -> Shape:
    chooser = next((m.discriminator for m in metadata if isinstance(m, Discriminator)), None)
    match chooser:
        case str():
            return VariantsShape(ChosenByKey(chooser), _models_by_tag(members, chooser))
        case ChosenByKey() | ChosenByPresence():
            return VariantsShape(chooser, _models_by_tag(members, None))
        case ChosenByForm():
            return EitherShape(chooser, {tag: _slot(m, []).shape for m in members for tag in _tags(m)})
        case _ if len(members) == 1:
            return _slot(members[0], metadata).shape
        case _:
            # pydantic would report what every member has to complain about
            raise TypeError(f"a union needs a discriminator from transferflow.spec.sections.base: {members}")


def _models_by_tag(members: list[object], key: str | None) -> dict[str, type[BaseModel]]:
    models: dict[str, type[BaseModel]] = {}
    for member in members:
        model, _ = _unwrap(member)
        tags = get_args(model.model_fields[key].annotation) if key else _tags(member)
        models.update(dict.fromkeys(tags, model))
    return models


def _tags(member: object) -> list[str]:
    return [item.tag for item in _unwrap(member)[1] if isinstance(item, Tag)]


def _plain_shape(annotation: object, origin: object, metadata: list[object]) -> Shape:
    arguments = get_args(annotation)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return SectionShape(annotation)
    if origin is dict:
        value = _slot(arguments[1], [])
        return DictShape(value, in_words("a mapping from names to", value.words))
    if origin is tuple:
        return _tuple_shape(arguments, metadata)
    if origin is Literal:
        choices = tuple(str(choice) for choice in arguments)
        return ScalarShape(in_words("one of", ", ".join(choices)), choices)
    return ScalarShape(describe_scalar(annotation, metadata), takes_text=annotation is str)


def _tuple_shape(arguments: tuple[object, ...], metadata: list[object]) -> ListShape:
    item = _slot(arguments[0], [])
    if arguments[-1] is not Ellipsis:
        words = f"a list of {len(arguments)}, each {item.words}"
        return ListShape(item, words, len(arguments))
    at_least = max((getattr(m, "min_length", 0) or 0 for m in metadata), default=0)
    limits = [getattr(m, "max_length", None) for m in metadata]
    at_most = min((limit for limit in limits if limit), default=None)
    many = f"a list of {at_least} or more" if at_least else "a list"
    if at_most is not None:
        many = f"a list of {at_least} to {at_most}"
    return ListShape(item, f"{many}, each {item.words}", at_least)
