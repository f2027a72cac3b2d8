"""What to write instead: hints for the slips that people make."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pydantic import BaseModel

from transferflow.spec.habits.keys import MOVED, TOLD
from transferflow.spec.habits.values import TOLD_VALUES
from transferflow.spec.merging.shape import (
    ListShape,
    ScalarShape,
    Shape,
    Slot,
    VariantsShape,
)
from transferflow.spec.messages.homes import homes_of, place_in_words
from transferflow.spec.messages.locate import Spot
from transferflow.spec.messages.our_words import as_text, dotted, in_our_words
from transferflow.spec.sections.augmentation import Transform
from transferflow.spec.sections.base import NAME_WORDS, ChosenByKey
from transferflow.spec.wording import did_you_mean
from transferflow.spec.yaml.scalars import ScalarError, resolve_scalar
from transferflow.spec.yaml.tree import Key, MapNode, Node, ScalarNode, shorten

_WORDS_FOR_BOOLEANS = {"yes": "true", "on": "true", "y": "true", "no": "false", "off": "false", "n": "false"}
_WORDS_FOR_DEFAULTS = frozenset({"auto", "default", "none", "-1"})
_WORDS_FOR_TAGS = frozenset(
    {"type", "name", "kind", "method", "strategy", "mode", "policy", "class", "algorithm"}
)


def value_hint(
    path: Sequence[Key], node: Node | None, slot: Slot | None, kind: str, default: str = ""
) -> str:
    """Hint for a value that is not allowed where it stands.

    Args:
        path: Its key path.
        node: The value.
        slot: What may stand there.
        kind: pydantic's name of the error.
        default: The key's default; empty where it has none.
    """
    if node is None:
        return ""
    shape = slot.shape if slot else None
    text = in_our_words(path, node, slot)
    if text and not (isinstance(node, ScalarNode) and text in (node.raw, as_text(node))):
        return f"write `{path[-1]}: {text}`" if isinstance(path[-1], str) else f"write {text}"
    if isinstance(node, ScalarNode) and default and node.raw.lower() in _WORDS_FOR_DEFAULTS:
        return f"leave it out: the default is {default}"
    if isinstance(shape, ListShape) and isinstance(node, ScalarNode) and dotted(path) not in TOLD_VALUES:
        return f"write a list: [{shorten(node.raw)}]"
    near, told = _plain_hint(node, shape, kind), TOLD_VALUES.get(dotted(path), "")
    # A model that torchvision lacks is seldom a slip of the pen: both are said.
    return f"{near} {told}".strip() if dotted(path) == "backbone.name" else near or told


def _plain_hint(node: Node, shape: Shape | None, kind: str) -> str:
    if not isinstance(node, ScalarNode):
        return ""
    if isinstance(shape, VariantsShape):
        return did_you_mean(node.raw, shape.variants) if isinstance(shape.chooser, ChosenByKey) else ""
    if not isinstance(shape, ScalarShape):
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


def unknown_key_hint(spot: Spot, model: type[BaseModel] | None, tree: MapNode, root: Slot) -> str:
    """Hint for a key that its section has not.

    Args:
        spot: The key.
        model: Which section it stands in.
        tree: The spec.
        root: What the spec may be.
    """
    key = str(spot.path[-1])
    known = list(model.model_fields) if model else []
    return (
        _other_variant_hint(key, spot, model)
        or _habit_hint(key, spot, model, tree, root)
        or did_you_mean(key, known)
        or _argument_hint(key, spot, model)
        or _home_hint(key, spot, tree, root)
    )


def _other_variant_hint(key: str, spot: Spot, model: type[BaseModel] | None) -> str:
    """Hint for a key that another variant of the section has."""
    shape = spot.owner
    if not isinstance(shape, VariantsShape):
        return ""
    tags = [tag for tag, other in shape.variants.items() if other is not model and key in other.model_fields]
    if not tags:
        return ""
    if isinstance(shape.chooser, ChosenByKey):
        return f"`{key}` goes with {shape.chooser.key}: {', '.join(tags)}"
    present = next((name for name in shape.chooser.keys if model and name in model.model_fields), "")
    return f"`{key}` does not go with `{present}`"


def _habit_hint(key: str, spot: Spot, model: type[BaseModel] | None, tree: MapNode, root: Slot) -> str:
    """Hint for a key that another tool has."""
    here = [step for step in spot.path[:-1] if isinstance(step, str) and not step.isdecimal()]
    word = key.lower().replace("-", "_")
    names = (f"{here[-1] if here else 'spec'}.{word}", word)
    told = next((TOLD[name] for name in names if name in TOLD), "")
    if told:
        return told
    target = next((MOVED[name] for name in names if name in MOVED), "")
    if target and tuple(target.split(".")) != spot.path:
        beside = (*spot.path[:-1], target)
        is_beside = bool(model and target in model.model_fields)
        return place_in_words(beside if is_beside else tuple(target.split(".")), spot.node, tree, root)
    if isinstance(spot.owner, VariantsShape) and isinstance(spot.owner.chooser, ChosenByKey):
        tag = spot.owner.chooser.key
        if word in _WORDS_FOR_TAGS and not (spot.parent and tag in spot.parent.entries):
            return place_in_words((*spot.path[:-1], tag), spot.node, tree, root)
    return ""


def _argument_hint(key: str, spot: Spot, model: type[BaseModel] | None) -> str:
    """Hint for an argument that stands beside the transform's name."""
    if model is not Transform or not isinstance(spot.node, ScalarNode):
        return ""
    return f"the transform's own arguments stand in `args`: write `args: {{{key}: {shorten(spot.node.raw)}}}`"


def _home_hint(key: str, spot: Spot, tree: MapNode, root: Slot) -> str:
    """Hint for a key that stands in the wrong section."""
    here = spot.path[:-1]
    homes = [home for home in homes_of(key, root) if home != here]
    return place_in_words((*homes[0], key), spot.node, tree, root) if len(homes) == 1 else ""
