"""The names file of a YOLO data set: `data.yaml`, or a text file with a name per line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from transferflow.data.formats.folders import split_of
from transferflow.data.records import SPLITS, SplitName
from transferflow.errors import DataError
from transferflow.spec.class_names import plain_name

_MAX_BYTES = 1_000_000


@dataclass(frozen=True)
class SplitEntry:
    """What the names file calls train, val or test.

    Attributes:
        split: Which of them.
        text: A folder of images, or a text file with an image per line.
        line: Line in the names file.
        folder: What the file's `path` says: the folder that `text` may be relative to.
    """

    split: SplitName
    text: str
    line: int
    folder: str = ""


@dataclass(frozen=True)
class YoloNames:
    """What the names file says.

    Attributes:
        names: Class names by number.
        entries: Folders and lists of the splits, in file order.
        keypoints: How many keypoints a label has, of how many numbers each, where it has them.
    """

    names: Mapping[int, str]
    entries: tuple[SplitEntry, ...] = ()
    keypoints: tuple[int, int] | None = None


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
    base = entries.get("path")
    folder = base.value if isinstance(base, yaml.ScalarNode) else ""
    splits = (
        entry
        for key, node in entries.items()
        if (split := split_of(key)) is not None
        for entry in _entries(split, node, name, str(folder))
    )
    ordered = sorted(splits, key=lambda entry: SPLITS.index(entry.split))
    return YoloNames(_checked(found, name), tuple(ordered), _keypoints(entries.get("kpt_shape"), name))


def _keypoints(node: yaml.Node | None, name: str) -> tuple[int, int] | None:
    if node is None:
        return None
    values = [str(part.value) for part in node.value] if isinstance(node, yaml.SequenceNode) else []
    if len(values) == 2 and values[0].isdecimal() and values[1] in ("2", "3"):
        return int(values[0][:9]), int(values[1])
    raise DataError(
        "`kpt_shape` is the number of keypoints and 2 or 3",
        where=f"{name}:{node.start_mark.line + 1}",
        found=", ".join(values),
        allowed="such as [17, 3]",
    )


def _mapping(node: yaml.Node | None) -> dict[str, yaml.Node]:
    if not isinstance(node, yaml.MappingNode):
        return {}
    return {str(key.value): value for key, value in node.value if isinstance(key, yaml.ScalarNode)}


def _entries(split: SplitName, node: yaml.Node, name: str, folder: str) -> list[SplitEntry]:
    nodes = node.value if isinstance(node, yaml.SequenceNode) else [node]
    found = [SplitEntry(split, _text(part, name), part.start_mark.line + 1, folder) for part in nodes]
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
    names = {number: plain_name(text) for number, text in names.items()}
    if len(set(names.values())) < len(names):
        raise DataError("the file names a class twice", where=name, found=", ".join(names.values()))
    return dict(sorted(names.items()))
