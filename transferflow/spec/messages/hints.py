"""What to write instead: hints for the slips that people make."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pydantic import BaseModel

from transferflow.spec.merging.shape import (
    ListShape,
    ScalarShape,
    SectionShape,
    Shape,
    Slot,
    VariantsShape,
    slots,
)
from transferflow.spec.messages.locate import Spot
from transferflow.spec.sections.base import NAME_WORDS, ChosenByKey
from transferflow.spec.wording import did_you_mean
from transferflow.spec.yaml.scalars import ScalarError, resolve_scalar
from transferflow.spec.yaml.tree import Key, Node, ScalarNode, path_text, shorten

_WORDS_FOR_BOOLEANS = {"yes": "true", "on": "true", "y": "true", "no": "false", "off": "false", "n": "false"}


def value_hint(node: Node | None, shape: Shape | None, kind: str) -> str:
    """Hint for a value of the wrong kind."""
    if isinstance(shape, ListShape) and isinstance(node, ScalarNode):
        return f"write a list: [{shorten(node.raw)}]"
    if isinstance(shape, VariantsShape):
        return _section_hint(node, shape)
    if not isinstance(node, ScalarNode) or not isinstance(shape, ScalarShape):
        return ""
    if shape.choices:
        return did_you_mean(node.raw, shape.choices)
    if kind == "string_type":
        return f'put it in quotes: "{shorten(node.raw)}"'
    if kind == "bool_type" and node.raw.lower() in _WORDS_FOR_BOOLEANS:
        return f"write {_WORDS_FOR_BOOLEANS[node.raw.lower()]}"
    if kind in ("int_type", "float_type"):
        return _number_hint(node, kind)
    if kind == "string_pattern_mismatch" and shape.words == NAME_WORDS:
        return _name_hint(node.raw)
    return ""


def _section_hint(node: Node | None, shape: VariantsShape) -> str:
    if not isinstance(node, ScalarNode):
        return ""
    for model in dict.fromkeys(shape.variants.values()):
        for key, slot in slots(model).items():
            if isinstance(slot.shape, ScalarShape) and node.raw in slot.shape.choices:
                return f"write {{{key}: {node.raw}}}"
    return did_you_mean(node.raw, shape.variants) if isinstance(shape.chooser, ChosenByKey) else ""


def _name_hint(text: str) -> str:
    name = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    return f"did you mean `{name}`?" if name and text.isascii() else ""


def _number_hint(node: ScalarNode, kind: str) -> str:
    if isinstance(node.value, float) and node.value.is_integer():
        return f"write {int(node.value)}"
    if not isinstance(node.value, str):
        return ""
    for spelling in (node.raw.strip(), re.sub(r"(?<=\d)_(?=\d)", "", node.raw), node.raw.lstrip("0")):
        try:
            value = resolve_scalar(spelling)
        except ScalarError:
            continue
        if isinstance(value, int if kind == "int_type" else int | float) and not isinstance(value, bool):
            return f"write {spelling}{' without quotes' if node.quoted else ''}"
    return ""


def moved_hint(key: str, spot: Spot, model: type[BaseModel] | None) -> str:
    """Hint for a key that another variant of the section has."""
    shape = spot.owner
    if not isinstance(shape, VariantsShape):
        return ""
    tags = [tag for tag, other in shape.variants.items() if other is not model and key in other.model_fields]
    if not tags:
        return ""
    if isinstance(shape.chooser, ChosenByKey):
        return f"`{key}` goes with {shape.chooser.key}: {', '.join(tags)}"
    return f"`{key}` does not go with `{shape.chooser.key}`"


def key_hint(key: str, path: Sequence[Key], root: Slot) -> str:
    """Hint for a key that stands in the wrong section."""
    here = tuple(path[:-1])
    homes = [home for home in _homes(key, root.shape, ()) if home != here]
    return f"did you mean `{path_text((*homes[0], key))}`?" if len(homes) == 1 else ""


def _homes(key: str, shape: Shape, path: tuple[str, ...]) -> list[tuple[str, ...]]:
    models: list[type[BaseModel]] = []
    match shape:
        case SectionShape(model=model):
            models = [model]
        case VariantsShape(variants=variants):
            models = list(dict.fromkeys(variants.values()))
        case _:
            return []
    homes = [path] if any(key in model.model_fields for model in models) else []
    for model in models:
        for name, slot in slots(model).items():
            homes += _homes(key, slot.shape, (*path, name))
    return list(dict.fromkeys(homes))
