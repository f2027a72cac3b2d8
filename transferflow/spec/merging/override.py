"""`--set KEY.PATH=VALUE`: one value from the command line, read by the same rules as the file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from transferflow.errors import Problem
from transferflow.limits import MAX_OVERRIDES, MAX_SPEC_DEPTH
from transferflow.spec.merging.merge import merge
from transferflow.spec.rules.secrets import ADDRESS_MESSAGE
from transferflow.spec.yaml.reader import read_yaml
from transferflow.spec.yaml.tree import Entry, ListNode, MapNode, Node, Place, ScalarNode, shorten
from transferflow.text import holds_secret

_SEGMENT = re.compile(r"""\s*(?:"([^"]+)"|'([^']+)'|([^\s.="']+))\s*""")


@dataclass(frozen=True)
class Overrides:
    """What the command line changes: a tree like a file's, or the problems in it."""

    tree: MapNode | None
    problems: tuple[Problem, ...]


def read_overrides(texts: Sequence[str]) -> Overrides:
    """Read all `--set` values into one tree; of two for the same key the later wins.

    They are laid over the spec together, so that their order does not matter to a section that changes
    its kind: `--set optimizer.lr=0.1 --set optimizer.kind=sgd` keeps the rate.
    """
    problems: list[Problem] = []
    tree: Node | None = None
    if len(texts) > MAX_OVERRIDES:
        problems.append(Problem(f"more than {MAX_OVERRIDES:,} values to replace", "--set"))
    for text in texts[:MAX_OVERRIDES]:
        one, found = _read(text)
        problems += found
        if one is not None:
            tree = one if tree is None else merge(tree, one, None)
    return Overrides(tree if isinstance(tree, MapNode) else None, tuple(problems))


def read_path(text: str) -> list[str]:
    """Keys of a path that is spelled as `path_text` spells it; none if the text is no path."""
    path, rest = _split(f"{text}=")
    return path if rest == "" else []


def _read(text: str) -> tuple[MapNode | None, list[Problem]]:
    place = Place(f"--set {shorten(text)}")
    if holds_secret(text):  # said here, as a later value for the same key would hide it
        return None, [Problem(ADDRESS_MESSAGE, str(place))]
    path, value_text = _split(text)
    if value_text is None or not path:
        what = "is not of the form KEY.PATH=VALUE"
        hint = 'as in --set optimizer.lr=3e-4, or --set optimizer.layer_lr."blocks.0"=1e-4'
        return None, [Problem(what, str(place), hint=hint)]
    if len(path) > MAX_SPEC_DEPTH:
        return None, [Problem(f"a path of more than {MAX_SPEC_DEPTH} keys", str(place))]
    if path[0] == "extends":
        return None, [Problem("`extends` can only stand in a file", str(place))]
    node, problems = read_yaml(value_text or "null", place.source)
    if problems or node is None:
        return None, [Problem(p.what, str(place), p.found, p.allowed, p.hint) for p in problems]
    node = _at(node, place)
    for key in reversed(path):
        node = MapNode({key: Entry(place, node)}, place, indexes=True)
    return (node if isinstance(node, MapNode) else None), []


def _split(text: str) -> tuple[list[str], str | None]:
    path: list[str] = []
    position = 0
    while match := _SEGMENT.match(text, position):
        path.append(next(part for part in match.groups() if part is not None))
        position = match.end()
        if text[position : position + 1] != ".":
            has_value = text[position : position + 1] == "="
            return path, text[position + 1 :].strip() if has_value else None
        position += 1
    return path, None


def _at(node: Node, place: Place) -> Node:
    """The same value, as if written at `place`: a command line has no lines."""
    match node:
        case MapNode(entries=entries):
            moved = {key: Entry(place, _at(entry.node, place)) for key, entry in entries.items()}
            return replace(node, entries=moved, place=place)
        case ListNode(items=items):
            return replace(node, items=tuple(_at(item, place) for item in items), place=place)
        case ScalarNode():
            return replace(node, place=place)
