"""One Pascal VOC file: its objects and the size of its image, read with mistrust."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from transferflow.data.formats.exact import InexactError, exact_flag, exact_whole
from transferflow.data.formats.xml import Node
from transferflow.data.records import Box


class VocError(ValueError):
    """Something in the file is not what it has to be; the message is a clause.

    Args:
        kind: Slug of the finding.
        reason: What is wrong.
        line: Where.
    """

    def __init__(self, kind: str, reason: str, line: int) -> None:
        self.kind, self.line = kind, line
        super().__init__(reason)


def read_boxes(
    tree: Node, read_name: Callable[[str, int], str], *, skip_difficult: bool, one_based: bool
) -> Iterator[Box]:
    """Boxes of the objects, in pixels of the annotated image.

    Args:
        tree: The element `annotation`.
        read_name: Makes a class name of a text and its line.
        skip_difficult: Leave out objects marked so.
        one_based: Whether coordinates count from 1.

    Raises:
        VocError: If an object has no name or no box, or its mark is neither 0 nor 1.
    """
    for node in tree.find_all("object"):
        if not (skip_difficult and _is_difficult(node)):
            yield _box(node, read_name, 1.0 if one_based else 0.0)


def _is_difficult(node: Node) -> bool:
    text = node.value("difficult")
    try:
        return bool(text) and exact_flag(text)
    except InexactError as error:
        raise VocError("bad_annotation", f"`difficult` {error}", node.line) from None


def _box(node: Node, read_name: Callable[[str, int], str], first: float) -> Box:
    corners = node.find("bndbox")
    label = read_name(node.value("name"), node.line)
    if corners is None or not label:
        lacking = "`name`" if corners is not None else "`bndbox`" if label else "`name` and `bndbox`"
        raise VocError("bad_box", f"an object needs `name` and `bndbox`; here is no {lacking}", node.line)
    try:
        x_min, y_min, x_max, y_max = (float(corners.value(t)) for t in ("xmin", "ymin", "xmax", "ymax"))
    except ValueError:
        reason = f"the box of {label!r} needs the numbers xmin, ymin, xmax, ymax"
        raise VocError("bad_box", reason, node.line) from None
    return Box(x_min - first, y_min - first, x_max, y_max, label, line=corners.line)


def read_size(tree: Node) -> tuple[int, int] | None:
    """Width and height of the annotated image; `None` where none is given, or 0, as some tools write.

    Raises:
        VocError: If they are no whole numbers.
    """
    size = tree.find("size")
    texts = ("", "") if size is None else (size.value("width"), size.value("height"))
    if size is None or not any(texts):
        return None
    try:
        width, height = map(exact_whole, texts)
    except InexactError as error:
        raise VocError("bad_annotation", f"`size` {error}", size.line) from None
    if width < 0 or height < 0:
        raise VocError("bad_annotation", f"`size` is {width} x {height}", size.line)
    return (width, height) if width and height else None
