"""The names file of a YOLO data set: `data.yaml`, or a text file with a name per line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from transferflow.data.records import SPLITS, SplitName
from transferflow.errors import DataError

_MAX_BYTES = 1_000_000


@dataclass(frozen=True)
class SplitEntry:
    """What the names file calls train, val or test.

    Attributes:
        split: Which of them.
        text: A folder of images, or a text file with an image per line.
        line: Line in the names file.
    """

    split: SplitName
    text: str
    line: int


@dataclass(frozen=True)
class YoloNames:
    """Class names by number, and the folders and lists of the splits in file order."""

    names: Mapping[int, str]
    entries: tuple[SplitEntry, ...] = ()


def load_yolo_names(file: Path, name: str) -> YoloNames:
    """Read the names; all of them stay text, `no` and `001` included.

    Raises:
        DataError: If there are none.
    """
    if file.stat().st_size > _MAX_BYTES:
        raise DataError("the file of class names is larger than 1 MB", where=name)
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError("the file of class names is not UTF-8 text", where=name) from error
    if file.suffix.lower() not in (".yaml", ".yml"):
        lines = [line.strip() for line in text.splitlines()]
        return YoloNames(_checked(dict(enumerate(line for line in lines if line)), name))
    try:
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError) as error:
        raise DataError("the file of class names is not YAML", where=name, found=str(error)) from error
    entries = _mapping(tree)
    names = entries.get("names")
    found: dict[int, str] = {}
    if isinstance(names, yaml.SequenceNode):
        found = {i: _text(node, name) for i, node in enumerate(names.value)}
    elif isinstance(names, yaml.MappingNode):
        numbered = _mapping(names).items()
        found = {int(k): _text(node, name) for k, node in numbered if k.isascii() and k.isdigit()}
    splits = (entry for split in SPLITS for entry in _entries(split, entries.get(split), name))
    return YoloNames(_checked(found, name), tuple(splits))


def _mapping(node: yaml.Node | None) -> dict[str, yaml.Node]:
    if not isinstance(node, yaml.MappingNode):
        return {}
    return {str(key.value): value for key, value in node.value if isinstance(key, yaml.ScalarNode)}


def _entries(split: SplitName, node: yaml.Node | None, name: str) -> list[SplitEntry]:
    nodes = node.value if isinstance(node, yaml.SequenceNode) else [node] if node else []
    found = [SplitEntry(split, _text(part, name), part.start_mark.line + 1) for part in nodes]
    return [entry for entry in found if entry.text not in ("", "null", "~")]


def _text(node: yaml.Node, name: str) -> str:
    if not isinstance(node, yaml.ScalarNode):
        where = f"{name}:{node.start_mark.line + 1}"
        raise DataError("text is expected here", where=where, found="a YAML collection")
    return str(node.value)


def _checked(names: dict[int, str], name: str) -> dict[int, str]:
    if not names:
        raise DataError(
            "the file names no classes",
            where=name,
            allowed="`names:` with a list, or with numbers and names; a text file with a name per line",
        )
    if len(set(names.values())) < len(names):
        raise DataError("the file names a class twice", where=name, found=", ".join(names.values()))
    return dict(sorted(names.items()))
