"""A COCO JSON file, read with mistrust."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from transferflow.data.formats.bounds import require_few
from transferflow.data.formats.exact import (
    InexactError,
    exact_flag,
    exact_id,
    exact_number,
    exact_text,
    exact_whole,
    show_value,
)
from transferflow.data.formats.json_problem import json_problem
from transferflow.data.records import Finding
from transferflow.errors import DataError
from transferflow.spec.class_names import plain_name

ImageId = int | str
_SHOWN = 20
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class CocoImage:
    """One entry of `images`, and what is wrong with it; `size` is width and height, if they are given."""

    id: ImageId
    file_name: str
    size: tuple[int, int] | None
    index: int
    extra: Mapping[str, Any]
    problem: str = ""


@dataclass(frozen=True, slots=True)
class CocoAnnotation:
    """One entry of `annotations`, with its category by name; `area` is `nan` where it is none above 0."""

    label: str
    bbox: tuple[float, float, float, float] | None
    segmentation: Any
    crowd: bool
    index: int
    area: float | None
    problem: str = ""


@dataclass(frozen=True)
class CocoFile:
    """The parts of a COCO file that are understood, and what is wrong with the rest.

    Attributes:
        images: Images by id, in file order.
        annotations: Annotations by image id.
        categories: Names in the order of their ids.
        findings: Entries that are left out.
        orphans: Index and image id of the annotations whose image is not listed.
        total: Number of all annotations.
    """

    images: Mapping[ImageId, CocoImage]
    annotations: Mapping[ImageId, list[CocoAnnotation]]
    categories: tuple[str, ...]
    findings: list[Finding] = field(default_factory=list)
    orphans: tuple[tuple[int, ImageId], ...] = ()
    total: int = 0


def load_coco_file(file: Path, name: str) -> CocoFile:
    """Read a COCO JSON file.

    Args:
        file: The file.
        name: Its path below the root, for messages.

    Raises:
        DataError: If it is not JSON, or not COCO.
    """
    whole = _load_json(file, name)
    findings: list[Finding] = []
    categories = _categories(whole, name)
    images: dict[ImageId, CocoImage] = {}
    for index, entry in enumerate(_entries(whole, "images", name)):
        require_few(findings, name)
        image = _image(entry, index)
        where = f"{name}:images[{index}]"
        if image is None:
            reason = "an image needs `id` (a number or text) and `file_name` (text)"
            findings.append(Finding("bad_image", "error", where, reason))
        elif image.id in images:
            reason = f"image id {image.id!r} is used again; first in images[{images[image.id].index}]"
            findings.append(Finding("duplicate_id", "error", where, reason))
        else:
            images[image.id] = image
    annotations, orphans = _annotations(whole, name, images, categories, findings)
    names = tuple(categories[key] for key in sorted(categories, key=lambda k: (isinstance(k, str), k)))
    return CocoFile(images, annotations, names, findings, orphans, len(whole["annotations"]))


def _load_json(file: Path, name: str) -> Mapping[str, Any]:
    try:
        with file.open(encoding="utf-8-sig") as stream:
            whole = json.load(stream)
    except json.JSONDecodeError as error:
        what, at = json_problem(error)
        line = error.doc.count("\n", 0, at) + 1
        column = at - error.doc.rfind("\n", 0, at)
        raise DataError(f"the annotations are not JSON: {what}", where=f"{name}:{line}:{column}") from error
    except UnicodeDecodeError as error:
        raise DataError(
            "the annotations are not UTF-8 text",
            where=name,
            found=error.reason,
            hint="save the file as UTF-8",
        ) from error
    except (OSError, RecursionError, ValueError) as error:
        raise DataError("the annotations can't be read", where=name, found=str(error)) from error
    if not isinstance(whole, dict):
        raise DataError(
            "the annotations are not COCO",
            where=name,
            found=f"a JSON {type(whole).__name__}",
            allowed="an object with images, annotations and categories",
            hint="these are predictions, which annotations may not be" if _are_predictions(whole) else "",
        )
    return whole


def _are_predictions(whole: object) -> bool:
    first = whole[0] if isinstance(whole, list) and whole else None
    return isinstance(first, dict) and "score" in first and "image_id" in first


def _entries(whole: Mapping[str, Any], key: str, name: str) -> list[Any]:
    entries = whole.get(key)
    if not isinstance(entries, list):
        raise DataError(
            f"the annotations have no list {key!r}",
            where=name,
            found=f"a JSON {type(entries).__name__} under {key!r}"
            if key in whole
            else ", ".join(list(whole)[:_SHOWN]) or "an empty object",
            allowed="images, annotations and categories",
            hint="this is a LabelMe file: convert all of them into one COCO file"
            if "shapes" in whole
            else "",
        )
    return entries


def _categories(whole: Mapping[str, Any], name: str) -> dict[ImageId, str]:
    found: dict[ImageId, str] = {}
    labels: set[str] = set()
    for index, entry in enumerate(_entries(whole, "categories", name)):
        key, label = _id(entry, "id"), _label(entry)
        if key is None or not label:
            what = "a category needs `id` and `name`"
        elif key in found:
            what = f"category id {key!r} is used twice"
        elif label in labels:
            what = f"category name {label!r} is used twice"
        else:
            found[key] = label
            labels.add(label)
            continue
        raise DataError(what, where=f"{name}:categories[{index}]", found=repr(entry)[:200])
    return found


def _id(entry: object, key: str) -> ImageId | None:
    """The id under a key of an entry; `None` if there is none."""
    try:
        return exact_id(entry[key]) if isinstance(entry, dict) else None
    except (KeyError, InexactError):
        return None


def _label(entry: object) -> str:
    name = entry.get("name") if isinstance(entry, dict) else None
    return plain_name(exact_text(name)) if isinstance(name, str | int) and not isinstance(name, bool) else ""


def _image(entry: object, index: int) -> CocoImage | None:
    key = _id(entry, "id")
    if not isinstance(entry, dict) or key is None:
        return None
    file_name = entry.get("file_name")
    if not isinstance(file_name, str) or not file_name:
        return None
    extra = {k: v for k, v in entry.items() if k not in ("file_name", "id")}
    try:
        return CocoImage(key, file_name, _size(entry), index, extra)
    except InexactError as error:
        return CocoImage(key, file_name, None, index, extra, str(error))


def _size(entry: Mapping[str, Any]) -> tuple[int, int] | None:
    """Width and height, or `None` where none is given.

    Raises:
        InexactError: If one is no whole number above 0, or is given alone.
    """
    if entry.get("width") is None and entry.get("height") is None:
        return None
    width, height = (_read(entry, key, exact_whole) for key in ("width", "height"))
    if width <= 0 or height <= 0:
        raise InexactError(f"its size is {width} x {height}")
    return width, height


def _read(entry: Mapping[str, Any], key: str, convert: Callable[[object], _T]) -> _T:
    try:
        return convert(entry.get(key))
    except InexactError as error:
        raise InexactError(f"`{key}` {error}") from None


def _annotations(
    whole: Mapping[str, Any],
    name: str,
    images: Mapping[ImageId, CocoImage],
    categories: Mapping[ImageId, str],
    findings: list[Finding],
) -> tuple[dict[ImageId, list[CocoAnnotation]], tuple[tuple[int, ImageId], ...]]:
    found: dict[ImageId, list[CocoAnnotation]] = {key: [] for key in images}
    orphans: list[tuple[int, ImageId]] = []
    first: dict[ImageId, int] = {}
    for index, entry in enumerate(_entries(whole, "annotations", name)):
        require_few(findings, name)
        where = f"{name}:annotations[{index}]"
        key, image, category = (_id(entry, k) for k in ("id", "image_id", "category_id"))
        if key is not None and first.setdefault(key, index) != index:
            reason = f"annotation id {key!r} is used again; first in annotations[{first[key]}]"
            findings.append(Finding("duplicate_id", "error", where, reason))
        elif image is None:
            reason = "an annotation needs `image_id`, a whole number or text"
            findings.append(Finding("bad_annotation", "error", where, reason))
        elif image not in images:
            orphans.append((index, image))
        elif category is None or category not in categories:
            reason = _unknown_category(entry.get("category_id"), categories)
            findings.append(Finding("unknown_label", "error", where, reason))
        else:
            found[image].append(_annotation(entry, categories[category], index))
    return found, tuple(orphans)


def _unknown_category(value: object, categories: Mapping[ImageId, str]) -> str:
    named = next((key for key, name in categories.items() if name == value), None)
    if named is not None:
        return f"category_id {value!r} is a name, where an id is expected: it has {named!r}"
    ids = ", ".join(map(repr, list(categories)[:_SHOWN]))
    return f"category {show_value(value)} is not among the categories, which have the ids {ids}"


def _annotation(entry: Mapping[str, Any], label: str, index: int) -> CocoAnnotation:
    box, mask = _bbox(entry.get("bbox")), entry.get("segmentation")
    try:
        crowd = entry.get("iscrowd") is not None and _read(entry, "iscrowd", exact_flag)
    except InexactError as error:
        return CocoAnnotation(label, box, mask, False, index, None, str(error))
    return CocoAnnotation(label, box, mask, crowd, index, _area(entry))


def _area(entry: Mapping[str, Any]) -> float | None:
    """Pixels of the object; not a number where something else stands there, `None` where nothing does."""
    if entry.get("area") is None:
        return None
    try:
        area = exact_number(entry["area"])
    except InexactError:
        return math.nan
    return area if area > 0 else math.nan


def _bbox(value: object) -> tuple[float, float, float, float] | None:
    """Four finite numbers; `None` where there are none."""
    if not isinstance(value, list) or len(value) != 4:
        return None
    try:
        x, y, width, height = map(exact_number, value)
    except InexactError:
        return None
    return x, y, width, height
