"""pydantic's errors, told to a person: the path as it stands in the YAML, its place, and what to write."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pydantic import BaseModel, ValidationError

from transferflow.errors import Problem
from transferflow.limits import MAX_PROBLEMS
from transferflow.spec.examples import FIELD_EXAMPLES
from transferflow.spec.experiment import CrossSectionError
from transferflow.spec.habits.values import TOLD_MISSING
from transferflow.spec.merging.merge import is_null, variant_of
from transferflow.spec.merging.shape import ListShape, Slot, VariantsShape
from transferflow.spec.messages.hints import unknown_key_hint, value_hint
from transferflow.spec.messages.locate import Spot, locate
from transferflow.spec.messages.our_words import dotted, in_a_line
from transferflow.spec.sections.base import ChosenByKey, Found
from transferflow.spec.yaml.tree import (
    Key,
    ListNode,
    MapNode,
    Place,
    ScalarNode,
    is_index,
    path_text,
    shorten,
    show,
)

_Located = tuple[Place, Problem]
_LONGEST_MESSAGE = 2000
_NOT_CALLED = "default_factory_not_called"  # follows from an error that is reported anyway
_WRONG_FORM = {
    "model_type": "must be a mapping",
    "model_attributes_type": "must be a mapping",
    "dict_type": "must be a mapping",
    "tuple_type": "must be a list",
    "too_short": "too few items",
    "too_long": "too many items",
    "literal_error": "is not one of the choices",
    "string_type": "must be text",
    "string_too_short": "must not be empty",
    "string_too_long": "the text is too long",
    "string_pattern_mismatch": "has a form that is not allowed",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "greater_than": "is too small",
    "greater_than_equal": "is too small",
    "less_than": "is too large",
    "less_than_equal": "is too large",
    "finite_number": "must be finite",
}


def validation_problems(
    error: ValidationError, tree: MapNode, root: Slot, *, ignore_missing: bool = False
) -> list[Problem]:
    """Turn pydantic's errors into problems, in the order of the files.

    Args:
        error: What pydantic found.
        tree: The spec that it looked at.
        root: What a spec may be.
        ignore_missing: Leave out keys that are not there.
    """
    found: list[_Located] = []
    for item in error.errors(include_url=False, include_input=False):
        if len(found) > MAX_PROBLEMS:
            break
        found += _problems_of(item, tree, root, ignore_missing=ignore_missing)
    ordered = sorted(dict.fromkeys(found), key=lambda located: _order(located[0], tree.place))
    return [problem for _, problem in ordered]


def rule_problems(found: Sequence[Found], tree: MapNode, root: Slot) -> tuple[Problem, ...]:
    """Turn broken rules into problems, in the order in which they were found."""
    return tuple(_broken_rule(path, message, tree, root)[1] for path, message in found)


def place_problem(problem: Problem, path: Sequence[str], tree: MapNode, root: Slot) -> Problem:
    """Put its place in the file before a problem's key path; a path that no spec has stays as it is."""
    keys = _keys(path)
    spot = locate(keys, tree, root, tagged=False)
    if not keys or spot.path != keys:
        return problem
    return replace(problem, where=f"{spot.place}: {path_text(keys)}")


def _order(place: Place, top: Place) -> tuple[bool, str, int, int]:
    return (place.source != top.source, place.source, place.line, place.column)


def _problems_of(
    item: Mapping[str, Any], tree: MapNode, root: Slot, *, ignore_missing: bool
) -> list[_Located]:
    kind = item["type"]
    cause = item.get("ctx", {}).get("error")
    if isinstance(cause, CrossSectionError):
        return [_broken_rule(path, message, tree, root) for path, message in cause.problems]
    spot = locate(item["loc"], tree, root)
    if kind == "missing" and isinstance(spot.node, ListNode):
        kind = "too_short"  # pydantic misses the items that a list of fixed length lacks
    missing = kind in ("missing", "union_tag_not_found")
    if kind == _NOT_CALLED or (missing and ignore_missing) or _follows_from_items(kind, spot):
        return []
    if kind in ("union_tag_not_found", "union_tag_invalid"):
        spot = _spot_of_tag(spot)
    if missing:
        return [_missing(spot)]
    if kind == "extra_forbidden":
        return [_unknown_key(spot, tree, root)]
    return [_wrong_value(spot, kind, item["msg"], cause)]


def _follows_from_items(kind: str, spot: Spot) -> bool:
    """pydantic counts only the items that are right: with enough of them written, "too short" is echo."""
    shape = spot.slot.shape if spot.slot else None
    return (
        kind == "too_short"
        and isinstance(spot.node, ListNode)
        and isinstance(shape, ListShape)
        and len(spot.node.items) >= shape.at_least
    )


def _spot_of_tag(spot: Spot) -> Spot:
    shape = spot.slot.shape if spot.slot else None
    if not isinstance(shape, VariantsShape) or not isinstance(shape.chooser, ChosenByKey):
        return spot
    key = shape.chooser.key
    path = (*spot.path, key)
    if not isinstance(spot.node, MapNode):
        return replace(spot, path=path, node=None)
    entry = spot.node.entries.get(key)
    if entry is None:
        return Spot(path, spot.place, None, spot.slot, spot.node, shape)
    return Spot(path, entry.node.place, entry.node, spot.slot, spot.node, shape, key_place=entry.key_place)


def _missing(spot: Spot) -> _Located:
    allowed = _allowed(spot)
    hint = _example_of(spot)
    if spot.parent and str(spot.path[-1]) in spot.parent.dropped:
        before = spot.parent.dropped[str(spot.path[-1])]
        hint = f"{before} set it for another kind of section: one that changes its kind starts afresh"
    return spot.place, _problem(spot, spot.place, "is required", allowed=allowed, hint=hint)


def _example_of(spot: Spot) -> str:
    """`as in …`, with an example of the key that is missing."""
    model, key = _model_of(spot), str(spot.path[-1])
    examples = FIELD_EXAMPLES.get(model.__name__, {}).get(key) if model else None
    if examples:
        return f"as in `{key}: {in_a_line(examples[0])}`"
    return TOLD_MISSING.get(dotted(spot.path), "")


def _unknown_key(spot: Spot, tree: MapNode, root: Slot) -> _Located:
    model = _model_of(spot)
    known = list(model.model_fields) if model else []
    place = spot.key_place or spot.place
    hint = unknown_key_hint(spot, model, tree, root)
    return place, _problem(spot, place, "unknown key", allowed=", ".join(known), hint=hint)


def _model_of(spot: Spot) -> type[BaseModel] | None:
    if spot.model is None and spot.parent is not None and isinstance(spot.owner, VariantsShape):
        return variant_of(spot.parent, spot.owner)
    return spot.model


def _wrong_value(spot: Spot, kind: str, message: str, cause: object) -> _Located:
    if spot.node is not None and is_null(spot.node):
        return spot.place, _problem(spot, spot.place, "is empty", allowed=_allowed(spot))
    if isinstance(cause, ValueError):
        return spot.place, _problem(spot, spot.place, str(cause), found=_found(spot))
    if kind == "tuple_type" and isinstance(spot.node, MapNode) and spot.node.indexes:
        what = f"there is no item {', '.join(spot.node.entries)} in the list"
        return spot.place, _problem(spot, spot.place, what, hint="items count from 0")
    what = "is not one of the choices" if kind == "union_tag_invalid" else _WRONG_FORM.get(kind, message)
    if spot.variants is not None and not isinstance(spot.node, MapNode):
        spot = replace(spot, slot=Slot(spot.variants), variants=None)  # no variant was chosen
    allowed = _allowed(spot)
    hint = value_hint(spot.path, spot.node, spot.slot, kind, _default_of(spot))
    return spot.place, _problem(spot, spot.place, what, found=_found(spot), allowed=allowed, hint=hint)


def _default_of(spot: Spot) -> str:
    """The default of the key, where it is a single value."""
    model = _model_of(spot)
    info = model.model_fields.get(str(spot.path[-1])) if model and spot.path else None
    default = info.default if info and not info.is_required() else None
    return (
        f"{default:g}"
        if isinstance(default, float)
        else str(default)
        if isinstance(default, str | int)
        else ""
    )


def _broken_rule(path: Sequence[str], message: str, tree: MapNode, root: Slot) -> _Located:
    keys = _keys(path)
    spot = replace(locate(keys, tree, root, tagged=False), path=keys)
    return spot.place, _problem(spot, spot.place, message)


def _keys(path: Sequence[str]) -> tuple[Key, ...]:
    return tuple(int(step) if is_index(step) else step for step in path)


def _found(spot: Spot) -> str:
    return show(spot.node) if isinstance(spot.node, ScalarNode | ListNode) else ""


def _allowed(spot: Spot) -> str:
    shape = spot.slot.shape if spot.slot else None
    if isinstance(shape, VariantsShape) and isinstance(shape.chooser, ChosenByKey):
        is_tag = bool(spot.path) and spot.path[-1] == shape.chooser.key
        return ", ".join(shape.variants) if is_tag else shape.words
    return spot.slot.words if spot.slot else ""


def _problem(
    spot: Spot, place: Place, what: str, *, found: str = "", allowed: str = "", hint: str = ""
) -> Problem:
    where = f"{place}: {path_text(spot.path)}" if spot.path else str(place)
    return Problem(shorten(what, _LONGEST_MESSAGE), where, found, allowed, hint)
