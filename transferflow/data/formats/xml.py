"""XML with line numbers, and without document types: they are how XML files attack their readers."""

from __future__ import annotations

from dataclasses import dataclass, field
from xml.parsers import expat

from transferflow.limits import MAX_XML_DEPTH, MAX_XML_ELEMENTS


class XmlError(ValueError):
    """The text is no XML, or holds what is refused."""

    def __init__(self, reason: str, line: int) -> None:
        self.line = line
        super().__init__(reason)


@dataclass
class Node:
    """An element."""

    tag: str
    line: int
    texts: list[str] = field(default_factory=list)
    children: list[Node] = field(default_factory=list)

    @property
    def text(self) -> str:
        """Its own text, stripped."""
        return "".join(self.texts).strip()

    def find(self, tag: str) -> Node | None:
        """First child of that tag."""
        return next((child for child in self.children if child.tag == tag), None)

    def find_all(self, tag: str) -> list[Node]:
        """All children of that tag."""
        return [child for child in self.children if child.tag == tag]

    def value(self, tag: str) -> str:
        """Text of the first child of that tag, stripped; empty if there is none."""
        child = self.find(tag)
        return child.text if child else ""


def parse_xml(content: bytes) -> Node:
    """Parse a document.

    Raises:
        XmlError: If it is not well formed, declares a document type, nests too deep, or has too many
            elements.
    """
    parser = expat.ParserCreate()
    stack = [Node("", 0)]

    count = 0

    def start(tag: str, _: dict[str, str]) -> None:
        nonlocal count
        count += 1
        if len(stack) > MAX_XML_DEPTH:
            raise XmlError("elements nest too deep", parser.CurrentLineNumber)
        if count > MAX_XML_ELEMENTS:
            raise XmlError(f"more than {MAX_XML_ELEMENTS:,} elements", parser.CurrentLineNumber)
        node = Node(tag, parser.CurrentLineNumber)
        stack[-1].children.append(node)
        stack.append(node)

    def text(data: str) -> None:
        stack[-1].texts.append(data)

    def doctype(*_: object) -> None:
        raise XmlError("a document type (DOCTYPE) is refused", parser.CurrentLineNumber)

    parser.StartElementHandler = start
    parser.EndElementHandler = lambda _: stack.pop()
    parser.CharacterDataHandler = text
    parser.StartDoctypeDeclHandler = doctype
    try:
        parser.Parse(content, True)
    except expat.ExpatError as error:
        raise XmlError(expat.errors.messages[error.code], error.lineno) from error
    except (ValueError, LookupError) as error:  # LookupError: an encoding that nobody knows
        if isinstance(error, XmlError):
            raise
        raise XmlError(str(error), 1) from error
    return stack[0].children[0]
