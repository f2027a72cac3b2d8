"""What a value in another tool's form comes to here: YAML text that can be pasted in its place."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_args

import yaml

from transferflow.spec.habits.values import VALUES
from transferflow.spec.merging.merge import fitting
from transferflow.spec.merging.shape import ListShape, ScalarShape, Shape, Slot, VariantsShape, slots
from transferflow.spec.sections.backbone import PackageBackbone, TorchvisionName
from transferflow.spec.sections.base import ChosenByKey
from transferflow.spec.sections.recurrence import is_interval
from transferflow.spec.yaml.tree import Key, ListNode, MapNode, Node, ScalarNode, shorten

_TRUE, _FALSE = frozenset({"true", "yes", "on"}), frozenset({"false", "no", "off", "none"})
_NAME = re.compile(r"[A-Za-z][\w.]*")
_FILE = re.compile(r".*\.(pt|pth|ckpt|bin|safetensors)|\w+://.*")
_PLAIN = re.compile(r"[\w./-]+")
_TIMES = {"hourly": "0 * * * *", "daily": "0 3 * * *", "nightly": "0 3 * * *", "weekly": "0 3 * * 1"}
_SHARES = ("train", "val", "test")


def in_our_words(path: Sequence[Key], node: Node, slot: Slot | None) -> str:
    """YAML text that says at `path` what `node` says there in other words; empty where that is not known.

    A value that is right as it stands is its own text.

    Args:
        path: Where the text will stand.
        node: What was written.
        slot: What may stand there.
    """
    name = dotted(path)
    special = _SPECIAL.get(name)
    text = special(node) if special else ""
    if text or slot is None:
        return text
    shape = fitting(slot, node)
    if isinstance(shape, ListShape) and isinstance(node, ListNode):
        items = [in_our_words((*path, 0), item, shape.item) for item in node.items]
        return f"[{', '.join(items)}]" if items and all(items) else ""
    if not isinstance(node, ScalarNode):
        return ""
    if isinstance(shape, VariantsShape):
        is_tag = isinstance(shape.chooser, ChosenByKey) and path[-1] == shape.chooser.key
        return _choice(name, node, tuple(shape.variants)) if is_tag else _variant(name, node, shape)
    return _scalar(name, node, shape)


def in_a_line(value: Any) -> str:  # noqa: ANN401  any YAML data
    """Plain data as YAML on one line."""
    text: str = yaml.safe_dump(
        value, default_flow_style=True, sort_keys=False, width=10_000, allow_unicode=True
    )
    return text.removesuffix("\n...\n").strip()


def dotted(path: Sequence[Key]) -> str:
    """The path as the tables of habits spell it: an index is a `*`."""
    return ".".join("*" if isinstance(key, int) or key.isdecimal() else key for key in path)


def _variant(name: str, node: ScalarNode, shape: VariantsShape) -> str:
    """`{kind: sgd}` where a word stands that means a variant, or a choice inside one."""
    for model in dict.fromkeys(shape.variants.values()):
        for key, slot in slots(model).items():
            if isinstance(slot.shape, ScalarShape) and slot.shape.choices:
                choice = _choice(f"{name}.{key}", node, slot.shape.choices)
                if choice:
                    return f"{{{key}: {choice}}}"
    return ""


def _scalar(name: str, node: ScalarNode, shape: Shape | None) -> str:
    if not isinstance(shape, ScalarShape):
        return ""
    if shape.choices or name in VALUES:
        found = _choice(name, node, shape.choices)
        if found or shape.choices:
            return found
    if shape.words.startswith(("a number", "a whole number")):
        return _number(node, shape.words)
    return as_text(node) if shape.takes_text else ""


def _choice(name: str, node: ScalarNode, choices: Sequence[str]) -> str:
    word = node.raw.lower().replace("-", "_")
    same = next((choice for choice in choices if choice.lower().replace("-", "_") == word), "")
    return same or VALUES.get(name, {}).get(word, "")


def _number(node: ScalarNode, words: str) -> str:
    """The number that was meant: a percentage of a share, a comma for the point."""
    text = node.raw.strip().replace(",", ".")
    is_percent = text.endswith("%")
    try:
        value = float(text.removesuffix("%"))
    except ValueError:
        return ""
    if isinstance(node.value, bool) or (words.startswith("a whole number") and not value.is_integer()):
        return ""
    is_share = words.endswith((", at most 1", ", below 1")) or ", at most 1, " in words
    if is_share and (is_percent or 1 < value <= 100):
        return f"{value / 100:g}"
    return "" if is_percent else text


def as_text(node: ScalarNode) -> str:
    """The value as text, in quotes where YAML would read something else."""
    return _quoted(node.raw) if isinstance(node.value, str) else f"'{shorten(node.raw)}'"


def _quoted(text: str) -> str:
    return text if _PLAIN.fullmatch(text) else f"'{shorten(text)}'"


def _word(node: Node) -> str:
    return node.raw.lower() if isinstance(node, ScalarNode) else ""


def _figure(node: Node) -> float | None:
    if not isinstance(node, ScalarNode) or isinstance(node.value, bool):
        return None
    return float(node.value) if isinstance(node.value, int | float) else None


def _texts(node: Node) -> list[str]:
    """Items of a list of names; none if it is no such list."""
    if not isinstance(node, ListNode):
        return []
    found = [item.raw for item in node.items if isinstance(item, ScalarNode) and _NAME.fullmatch(item.raw)]
    return found if len(found) == len(node.items) else []


def _backbone(node: Node) -> str:
    name = node.raw if isinstance(node, ScalarNode) else ""
    if name in get_args(TorchvisionName):
        return f"{{source: torchvision, name: {name}}}"
    if name in get_args(PackageBackbone.model_fields["name"].annotation):
        return f"{{source: package, name: {name}}}"
    if name.lower().startswith("yolo") or not name:
        return ""
    if _FILE.fullmatch(name):
        return f"{{source: checkpoint, name: resnet50, weights: {_quoted(name)}}}"
    return f"{{source: timm, name: {name}}}" if _NAME.fullmatch(name) else ""


def _weights(node: Node) -> str:
    """Published weights or random ones, where other tools say whether the model is pretrained."""
    if _word(node) in _FALSE:
        return "none"
    return "DEFAULT" if _word(node) in _TRUE else ""


def _metric(node: Node) -> str:
    """A metric's name; the loss is none."""
    return "" if "loss" in _word(node) else _word(node)


def _freeze(node: Node) -> str:
    names = _texts(node)
    if names:
        return f"{{policy: layers, layers: [{', '.join(names)}]}}"
    if _word(node) in _FALSE:
        return "{policy: none}"
    return "{policy: backbone}" if _word(node) in _TRUE else ""


def _early_stopping(node: Node) -> str:
    figure = _figure(node)
    if figure is not None and figure >= 1 and figure.is_integer():
        return f"{{patience: {int(figure)}}}"
    if _word(node) in _FALSE:
        return "null"
    return "{patience: 5}" if _word(node) in _TRUE else ""


def _average(node: Node) -> str:
    if _word(node) in _FALSE:
        return "null"
    return "0.999" if _word(node) in _TRUE else ""


def _augmentation(node: Node) -> str:
    names = _texts(node)
    return f"{{transforms: [{', '.join(f'{{name: {name}}}' for name in names)}]}}" if names else ""


def _transform(node: Node) -> str:
    is_name = isinstance(node, ScalarNode) and _NAME.fullmatch(node.raw)
    return f"{{name: {node.raw}}}" if is_name and isinstance(node, ScalarNode) else ""


def _data(node: Node) -> str:
    is_path = isinstance(node, ScalarNode) and isinstance(node.value, str) and node.raw
    return (
        f"{{format: image_folder, root: {_quoted(node.raw)}}}"
        if is_path and isinstance(node, ScalarNode)
        else ""
    )


def _split(node: Node) -> str:
    if isinstance(node, ListNode):
        figures = [figure for item in node.items if (figure := _figure(item)) is not None]
        total = sum(figures)
        if len(figures) != len(node.items) or len(figures) != len(_SHARES) or total <= 0:
            return ""
    else:
        figure = _figure(node)
        if figure is None or not 0 < figure < 0.9:
            return ""
        figures, total = [0.9 - figure, 0.1, figure], 1.0
    shares = (f"{name}: {round(figure / total, 4):g}" for name, figure in zip(_SHARES, figures, strict=True))
    return f"{{{', '.join(shares)}}}"


def _cache(node: Node) -> str:
    figure = _figure(node)
    if figure is not None and figure > 0:
        return f"{{max_gb: {figure:g}}}"
    if _word(node) in _FALSE:
        return "null"
    return "{max_gb: 20}" if _word(node) in _TRUE or _word(node) in ("disk", "ram") else ""


def _gate(node: Node) -> str:
    figure = _figure(node)
    if figure is not None and 0 < figure <= 100:
        return f"{{minimum: {figure if figure <= 1 else figure / 100:g}}}"
    is_name = isinstance(node, ScalarNode) and isinstance(node.value, str) and _NAME.fullmatch(node.raw)
    return f"{{metric: {_word(node)}}}" if is_name else ""


def _cron(node: Node) -> str:
    word = _word(node)
    fields = _TIMES.get(word, word)
    if is_interval(fields):
        return f"{{interval: {fields}}}"
    return f"{{cron: '{fields}'}}" if len(fields.split()) == 5 else ""


def _size(node: Node) -> str:
    """A side, or height and width, that were given as text, as a list of one, or with the channels."""
    if isinstance(node, ListNode):
        sides = [item.raw for item in node.items if isinstance(item, ScalarNode)]
    else:
        sides = re.split(r"[x,* ]+", _word(node).strip("()"))
    if len(sides) == 3 and ("1" in sides or "3" in sides):
        sides.remove("1" if "1" in sides else "3")
    if not sides or len(sides) > 2 or not all(side.isdecimal() for side in sides):
        return ""
    square = len(set(sides)) == 1
    # Tools differ in which of two comes first: text of two numbers is not turned into height and width.
    return sides[0] if square else f"[{', '.join(sides)}]" if isinstance(node, ListNode) else ""


def _classes(node: Node) -> str:
    """Names by number, as YOLO has them."""
    if not isinstance(node, MapNode) or sorted(node.entries) != sorted(map(str, range(len(node.entries)))):
        return ""
    names = [node.entries[str(number)].node for number in range(len(node.entries))]
    texts = [_quoted(name.raw) for name in names if isinstance(name, ScalarNode)]
    return f"[{', '.join(texts)}]" if len(texts) == len(names) else ""


_SPECIAL: Mapping[str, Callable[[Node], str]] = {
    "backbone": _backbone,
    "backbone.weights": _weights,
    "freeze": _freeze,
    "training.early_stopping": _early_stopping,
    "training.early_stopping.metric": _metric,
    "training.ema": _average,
    "augmentation": _augmentation,
    "augmentation.transforms.*": _transform,
    "data": _data,
    "data.split": _split,
    "data.cache": _cache,
    "data.image_size": _size,
    "data.classes": _classes,
    "registration.gate": _gate,
    "deployment.schedule": _cron,
}
