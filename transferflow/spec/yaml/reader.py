"""YAML text to a tree with places. Reads events, not objects: nothing in a file is ever constructed.

Everything is bounded (bytes, nodes after aliases are expanded, depth), each problem has its line, and as
many problems as possible are found in one go.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from transferflow.errors import Problem
from transferflow.limits import MAX_PROBLEMS, MAX_SPEC_DEPTH, MAX_SPEC_VALUES
from transferflow.spec.yaml.scalars import ScalarError, resolve_scalar
from transferflow.spec.yaml.syntax import syntax_problem
from transferflow.spec.yaml.tree import Entry, ListNode, MapNode, Node, Place, ScalarNode, path_text, shorten

MERGE_KEY = "<<"

# YAML's printable characters; the parser would stop at any other with a message of its own.
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
# The C parser is about ten times faster and reads the same language.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _StopReading(Exception):  # noqa: N818 -- not an error of its own: the problem is already noted
    """The file can't be read any further."""


def read_yaml(data: bytes | str, source: str, note: str = "") -> tuple[Node | None, list[Problem]]:
    """Parse one YAML document.

    Args:
        data: The document, UTF-8 if bytes.
        source: Name for messages.
        note: Put behind each position in messages.

    Returns:
        The tree (None when nothing could be made of it) and every problem found; never raises.
    """
    reader = _Reader(source, note)
    text = data if isinstance(data, str) else reader.decode(data)
    return (reader.read(text) if text is not None else None), reader.problems


@dataclass
class _Open:
    """A list or mapping whose end has not been seen."""

    place: Place
    is_map: bool
    anchor: str | None
    first_node: int
    items: list[Node] = field(default_factory=list)
    entries: dict[str, Entry] = field(default_factory=dict)
    merged: list[Node] = field(default_factory=list)
    key: tuple[str, Place] | None = None
    key_merges: bool = False
    expects_key: bool = True


class _Reader:
    """One pass over the parser's events, with its own stack instead of recursion."""

    def __init__(self, source: str, note: str) -> None:
        self.source = source
        self.note = note
        self.problems: list[Problem] = []
        self.stack: list[_Open] = []
        self.anchors: dict[str, tuple[Node | None, int]] = {}
        self.nodes = 0
        self.root: Node | None = None

    # Text

    def decode(self, data: bytes) -> str | None:
        for mark in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            if data.startswith(mark):
                self.problems.append(Problem("the file is UTF-16", self.source, hint="save it as UTF-8"))
                return None
        try:
            return data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            before = data[: error.start]
            place = self.place(before.count(b"\n"), error.start - (before.rfind(b"\n") + 1))
            self.add("the file is not UTF-8", place, f"byte 0x{data[error.start]:02x}", "save it as UTF-8")
            return None

    def read(self, text: str) -> Node | None:
        bad = _UNPRINTABLE.search(text)
        if bad:
            before = text[: bad.start()]
            place = self.place(before.count("\n"), bad.start() - (before.rfind("\n") + 1))
            self.add("a control character", place, f"U+{ord(bad.group()):04X}", "remove it")
            return None
        try:
            for event in self.events(text):
                self.take(event)
        except _StopReading:
            return None
        if self.root is None and not self.problems:
            self.add("the document is empty", Place(self.source, 1, 1, self.note))
        return self.root

    def events(self, text: str) -> Iterator[yaml.Event]:
        try:
            yield from yaml.parse(text, Loader=_LOADER)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            where = self.place(mark.line, mark.column) if mark else Place(self.source, note=self.note)
            self.problems.append(syntax_problem(error, text, where))
            raise _StopReading from None
        except (yaml.YAMLError, ValueError, OverflowError) as error:
            # The pure Python parser lets an impossible escape such as "\UFFFFFFFF" through to chr().
            self.add(f"is not YAML: {shorten(str(error), 200)}", Place(self.source, note=self.note))
            raise _StopReading from None

    # Messages

    def place(self, line: int, column: int) -> Place:
        return Place(self.source, line + 1, column + 1, self.note)

    def mark(self, event: yaml.Event) -> Place:
        mark = event.start_mark
        return self.place(mark.line, mark.column) if mark else Place(self.source, note=self.note)

    def add(self, what: str, place: Place, found: str = "", hint: str = "") -> None:
        if len(self.problems) > MAX_PROBLEMS:
            raise _StopReading
        self.problems.append(Problem(what, f"{place}{self.inside()}", found=found, hint=hint))

    def inside(self) -> str:
        path = [
            frame.key[0] if frame.key else len(frame.items)
            for frame in self.stack
            if frame.key or not frame.is_map
        ]
        return f": {path_text(path)}" if path else ""

    # Events

    def take(self, event: yaml.Event) -> None:
        match event:
            case yaml.DocumentStartEvent() if self.root is not None:
                self.add("a second document", self.mark(event), hint="one spec per file: remove the `---`")
                raise _StopReading
            case yaml.AliasEvent():
                self.place_node(self.alias(event), self.mark(event))
            case yaml.ScalarEvent():
                self.scalar(event)
            case yaml.SequenceStartEvent() | yaml.MappingStartEvent():
                self.open(event)
            case yaml.SequenceEndEvent() | yaml.MappingEndEvent():
                self.close()

    def count(self, nodes: int, place: Place) -> None:
        self.nodes += nodes
        if self.nodes > MAX_SPEC_VALUES:
            self.add(f"more than {MAX_SPEC_VALUES:,} values, aliases expanded", place)
            raise _StopReading

    def refuse_tag(self, event: yaml.NodeEvent) -> None:
        tag = getattr(event, "tag", None)
        if tag:
            shown = shorten(tag.replace("tag:yaml.org,2002:", "!!"))
            self.add("tags are not allowed", self.mark(event), shown, "remove it: the key decides the type")

    def scalar(self, event: yaml.ScalarEvent) -> None:
        place = self.mark(event)
        self.count(1, place)
        self.refuse_tag(event)
        quoted = event.style not in (None, "")  # the two parsers mark a plain scalar differently
        try:
            event.value.encode()  # an escape such as "\ud800" is half a character
            value = event.value if quoted else resolve_scalar(event.value)
        except ScalarError as error:
            self.add(str(error), place, shorten(event.value))
            value = None
        except UnicodeEncodeError:
            self.add("half a character (a lone surrogate escape)", place)
            value = None
        node = ScalarNode(value, place, event.value, quoted)
        if event.anchor:
            self.anchors[event.anchor] = (node, 1)
        self.place_node(node, place)

    def open(self, event: yaml.CollectionStartEvent) -> None:
        place = self.mark(event)
        self.count(1, place)
        self.refuse_tag(event)
        if len(self.stack) >= MAX_SPEC_DEPTH:
            self.add(f"nested more than {MAX_SPEC_DEPTH} levels deep", place)
            raise _StopReading
        if event.anchor:
            self.anchors[event.anchor] = (None, 0)
        self.stack.append(_Open(place, isinstance(event, yaml.MappingStartEvent), event.anchor, self.nodes))

    def close(self) -> None:
        frame = self.stack.pop()
        node: Node
        if frame.is_map:
            node = MapNode(self.with_merged(frame), frame.place)
        else:
            node = ListNode(tuple(frame.items), frame.place)
        if frame.anchor:
            self.anchors[frame.anchor] = (node, self.nodes - frame.first_node + 1)
        self.place_node(node, frame.place)

    def alias(self, event: yaml.AliasEvent) -> Node:
        place = self.mark(event)
        anchor = event.anchor or ""
        node, size = self.anchors.get(anchor, (None, -1))
        if node is None:
            what = "no such anchor above" if size < 0 else "an alias inside its own anchor"
            self.add(what, place, f"*{shorten(anchor)}")
            return ScalarNode(None, place, f"*{anchor}")
        self.count(size, place)
        return node

    # Tree

    def place_node(self, node: Node, place: Place) -> None:
        if not self.stack:
            self.root = node
            return
        frame = self.stack[-1]
        if not frame.is_map:
            frame.items.append(node)
        elif frame.expects_key:
            frame.key = self.key(node, place)
            frame.key_merges = isinstance(node, ScalarNode) and node.raw == MERGE_KEY and not node.quoted
            frame.expects_key = False
        else:
            if frame.key is not None:
                self.store(frame, frame.key, node)
            frame.key = None
            frame.expects_key = True

    def key(self, node: Node, place: Place) -> tuple[str, Place] | None:
        if isinstance(node, ScalarNode) and node.raw:
            return (node.raw, place)
        what = "an empty key" if isinstance(node, ScalarNode) else "a key must be a single word"
        self.add(what, place)
        return None

    def store(self, frame: _Open, key: tuple[str, Place], node: Node) -> None:
        name, place = key
        if frame.key_merges:
            frame.merged.extend(node.items if isinstance(node, ListNode) else (node,))
        elif name in frame.entries:
            first = frame.entries[name].key_place
            hint = "keep one of the two"
            self.add(f"the key stands twice: already in line {first.line}", place, hint=hint)
        else:
            frame.entries[name] = Entry(place, node)

    def with_merged(self, frame: _Open) -> dict[str, Entry]:
        entries = dict(frame.entries)
        for node in frame.merged:
            if isinstance(node, MapNode):
                self.count(len(node.entries), frame.place)
                entries = {**node.entries, **entries}
            else:
                self.add("`<<` takes a mapping, or a list of mappings", node.place)
        return entries
