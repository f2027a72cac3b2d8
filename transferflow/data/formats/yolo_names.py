"""The names file of a YOLO data set: `data.yaml`, or a text file with a name per line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import yaml

from transferflow.data.records import SPLITS, SplitName
from transferflow.errors import DataError

_MAX_BYTES = 1_000_000


@dataclass(frozen=True)
class YoloNames:
    """Class names by number, and the folders that the file calls train, val and test."""

    names: Mapping[int, str]
    splits: Mapping[str, SplitName] = field(default_factory=dict)


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
    except yaml.YAMLError as error:
        raise DataError("the file of class names is not YAML", where=name, found=str(error)) from error
    entries = _mapping(tree)
    names = entries.get("names")
    found: dict[int, str] = {}
    if isinstance(names, yaml.SequenceNode):
        found = {i: str(node.value) for i, node in enumerate(names.value)}
    elif isinstance(names, yaml.MappingNode):
        found = {int(k): str(n.value) for k, n in _mapping(names).items() if k.isascii() and k.isdigit()}
    splits: dict[str, SplitName] = {}
    for split in SPLITS:
        node = entries.get(split)
        if isinstance(node, yaml.ScalarNode) and node.value:
            splits[PurePosixPath(node.value).as_posix()] = split
    return YoloNames(_checked(found, name), splits)


def _mapping(node: yaml.Node | None) -> dict[str, yaml.Node]:
    if not isinstance(node, yaml.MappingNode):
        return {}
    return {str(key.value): value for key, value in node.value}


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
