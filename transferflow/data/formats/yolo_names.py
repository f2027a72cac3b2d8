"""The names file of a YOLO data set: `data.yaml`, or a text file with a name per line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from transferflow.data.formats.folders import split_of
from transferflow.data.records import SPLITS, SplitName
from transferflow.errors import DataError
from transferflow.limits import MAX_NAMES_BYTES
from transferflow.spec.class_names import plain_name
from transferflow.spec.yaml.reader import read_yaml
from transferflow.spec.yaml.tree import ListNode, MapNode, Node, ScalarNode, is_index
from transferflow.store import read_bounded
from transferflow.text import counted


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
    try:
        text = read_bounded(file, MAX_NAMES_BYTES).decode("utf-8-sig")
    except OSError as error:
        reason = error.strerror or str(error)
        raise DataError("the file of class names can't be read", where=name, found=reason) from error
    except UnicodeDecodeError as error:
        raise DataError("the file of class names is not UTF-8 text", where=name) from error
    if file.suffix.lower() not in (".yaml", ".yml"):
        return YoloNames(_checked(dict(enumerate(_lines_of_names(text, name))), name))
    entries = _entries_of(_read_tree(text, name))
    names = entries.get("names")
    found: dict[int, str] = {}
    if isinstance(names, ListNode):
        found = {number: _text(node, name) for number, node in enumerate(names.items)}
    elif isinstance(names, MapNode):
        found = {int(key): _text(node, name) for key, node in _entries_of(names).items() if is_index(key)}
    _require_count(entries.get("nc"), found, name)
    base = entries.get("path")
    folder = base.raw if isinstance(base, ScalarNode) else ""
    splits = (
        entry
        for key, node in entries.items()
        if (split := split_of(key)) is not None
        for entry in _entries(split, node, name, folder)
    )
    ordered = sorted(splits, key=lambda entry: SPLITS.index(entry.split))
    return YoloNames(_checked(found, name), tuple(ordered), _keypoints(entries.get("kpt_shape"), name))


def _lines_of_names(text: str, name: str) -> list[str]:
    """Names, one a line; blank lines at the end do not count.

    Raises:
        DataError: If a line before them is empty: the number of a class is that of its line, from 0.
    """
    lines = [line.strip() for line in text.rstrip().splitlines()]
    if "" in lines:
        raise DataError(
            "a line of the class names is empty",
            where=f"{name}:{lines.index('') + 1}",
            hint="the number of a class is that of its line, counted from 0: delete the line if the labels "
            "do not count it, else write a name there",
        )
    return lines


def _require_count(node: Node | None, names: Mapping[int, str], name: str) -> None:
    if not isinstance(node, ScalarNode) or not names:
        return
    if not is_index(node.raw) or int(node.raw) not in (len(names), max(names) + 1):
        raise DataError(
            "`nc` and `names` do not agree",
            where=f"{name}:{node.place.line}",
            found=f"nc: {node.raw}, and {counted(len(names), 'name')}",
            hint="complete `names`, or correct or delete `nc`",
        )


def _read_tree(text: str, name: str) -> Node | None:
    """Read the YAML as a spec is read: PyYAML's own tree takes days over a megabyte of brackets."""
    if not text.strip():
        return None
    tree, problems = read_yaml(text, name)
    if problems:
        where = problems[0].where
        raise DataError("the file of class names is not YAML", where=where, found=problems[0].what)
    return tree


def _keypoints(node: Node | None, name: str) -> tuple[int, int] | None:
    if node is None:
        return None
    items = node.items if isinstance(node, ListNode) else ()
    values = [part.raw for part in items if isinstance(part, ScalarNode)]
    if len(values) == 2 and is_index(values[0]) and values[1] in ("2", "3"):
        return int(values[0]), int(values[1])
    raise DataError(
        "`kpt_shape` is the number of keypoints and 2 or 3",
        where=f"{name}:{node.place.line}",
        found=", ".join(values),
        allowed="such as [17, 3]",
    )


def _entries_of(node: Node | None) -> dict[str, Node]:
    return {key: entry.node for key, entry in node.entries.items()} if isinstance(node, MapNode) else {}


def _entries(split: SplitName, node: Node, name: str, folder: str) -> list[SplitEntry]:
    nodes = node.items if isinstance(node, ListNode) else (node,)
    found = [SplitEntry(split, _text(part, name), part.place.line, folder) for part in nodes]
    return [entry for entry in found if entry.text not in ("", "null", "~")]


def _text(node: Node, name: str) -> str:
    if not isinstance(node, ScalarNode):
        where = f"{name}:{node.place.line}"
        raise DataError("text is expected here", where=where, found="a YAML collection")
    return node.raw


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
