"""Where a key belongs, and the line that puts it there."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel

from transferflow.spec.experiment import ExperimentSpec
from transferflow.spec.habits.keys import MOVED
from transferflow.spec.merging.shape import (
    ListShape,
    ScalarShape,
    SectionShape,
    Shape,
    Slot,
    VariantsShape,
    slots,
)
from transferflow.spec.messages.our_words import in_our_words
from transferflow.spec.sections.base import ChosenByKey
from transferflow.spec.wording import in_words
from transferflow.spec.yaml.tree import Key, MapNode, Node, path_text


def homes_of(key: str, root: Slot) -> list[tuple[str, ...]]:
    """Paths of the sections that have this key."""
    return _homes(key, root.shape, ())


def _homes(key: str, shape: Shape, path: tuple[str, ...]) -> list[tuple[str, ...]]:
    models = _models(shape)
    homes = [path] if any(key in model.model_fields for model in models) else []
    for model in models:
        for name, slot in slots(model).items():
            homes += _homes(key, slot.shape, (*path, name))
    return list(dict.fromkeys(homes))


def _models(shape: Shape) -> list[type[BaseModel]]:
    match shape:
        case SectionShape(model=model):
            return [model]
        case VariantsShape(variants=variants):
            return list(dict.fromkeys(variants.values()))
        case _:
            return []


def key_of_habit(word: str) -> tuple[str, ...]:
    """Key path of a word that this tool or another one has for a setting; empty where it is not known."""
    if word in MOVED and "." in MOVED[word]:
        return tuple(MOVED[word].split("."))
    homes = [home for home in homes_of(word, Slot(SectionShape(ExperimentSpec))) if home]
    return (*homes[0], word) if len(homes) == 1 else ()


def place_in_words(path: Sequence[Key], node: Node | None, tree: MapNode, root: Slot) -> str:
    """Say where something belongs, with the line that says it there.

    Args:
        path: Its key path here.
        node: What was written elsewhere; its text moves along as far as it is allowed there.
        tree: The spec: a section that is there gets the line, else the line brings its section.
        root: What the spec may be.
    """
    here = f"here it is `{path_text(path)}`"
    there, depth = _deepest(path, tree)
    if depth == len(path) and (node is None or node.place.line):
        return f"{here}, which the spec has already: remove this"
    slot = _slot_at(path, root.shape)
    text = in_our_words(path, node, slot) if node is not None else ""
    if not text:
        words = slot.words if slot else ""
        return f"{here}: {words}" if words else here
    if node is not None and not node.place.line:
        return f"{here}: `--set {path_text(path)}={text}`"
    line = _line(path[depth:], text, _shape_at(path[:depth], root.shape))
    into = f" into `{path_text(there)}`" if there else ""
    return f"{here}: {'put' if into else 'write'} `{line}`{into}"


def _deepest(path: Sequence[Key], tree: MapNode) -> tuple[Sequence[Key], int]:
    """The part of the path that the spec has."""
    node: Node | None = tree
    for depth, key in enumerate(path):
        inner = node.get(str(key)) if isinstance(node, MapNode) else None
        if inner is None:
            return path[:depth], depth
        node = inner
    return path, len(path)


def _line(path: Sequence[Key], text: str, shape: Shape | None) -> str:
    """`training: {early_stopping: {patience: 5}}`, with the tags that the sections need."""
    key, rest = str(path[0]), path[1:]
    if not rest:
        return f"{key}: {text}"
    inner = _slot_at([key], shape) if shape else None
    tag = _tag_for(str(rest[0]), inner.shape) if inner else ""
    return f"{key}: {{{tag}{_line(rest, text, inner.shape if inner else None)}}}"


def _tag_for(key: str, shape: Shape) -> str:
    """`kind: sgd, ` where the section's default has no such key."""
    if not isinstance(shape, VariantsShape) or not isinstance(shape.chooser, ChosenByKey):
        return ""
    default = shape.variants.get(shape.chooser.default or "")
    if key == shape.chooser.key or (default is not None and key in default.model_fields):
        return ""
    tags = [tag for tag, model in shape.variants.items() if key in model.model_fields]
    return f"{shape.chooser.key}: {tags[0]}, " if tags else ""


def _shape_at(path: Sequence[Key], shape: Shape) -> Shape | None:
    slot = _slot_at(path, shape)
    return slot.shape if slot else shape


def _slot_at(path: Sequence[Key], shape: Shape) -> Slot | None:
    """What may stand at a path, in whichever variant has it."""
    slot: Slot | None = None
    for key in path:
        slot = _slot_in(shape, key)
        if slot is None:
            return None
        shape = slot.shape
    return slot


def _slot_in(shape: Shape, key: Key) -> Slot | None:
    if isinstance(shape, ListShape):
        return shape.item
    if (
        isinstance(shape, VariantsShape)
        and isinstance(shape.chooser, ChosenByKey)
        and key == shape.chooser.key
    ):
        tags = tuple(shape.variants)
        return Slot(ScalarShape(in_words("one of", ", ".join(tags)), tags))
    return next((slots(model)[str(key)] for model in _models(shape) if str(key) in model.model_fields), None)
