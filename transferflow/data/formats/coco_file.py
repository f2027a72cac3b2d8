"""A COCO JSON file, read with mistrust."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard

from transferflow.data.records import Finding
from transferflow.errors import DataError

ImageId = int | str


@dataclass(frozen=True, slots=True)
class CocoImage:
    """One entry of `images`; `size` is width and height, if they are given."""

    id: ImageId
    file_name: str
    size: tuple[int, int] | None
    index: int
    extra: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class CocoAnnotation:
    """One entry of `annotations`, with its category by name; `area` only where it is a positive number."""

    label: str
    bbox: tuple[float, float, float, float] | None
    segmentation: Any
    crowd: bool
    index: int
    area: float | None


@dataclass(frozen=True)
class CocoFile:
    """The parts of a COCO file that are understood, and what is wrong with the rest.

    Attributes:
        images: Images by id, in file order.
        annotations: Annotations by image id.
        categories: Names in the order of their ids.
        findings: Entries that are left out.
    """

    images: Mapping[ImageId, CocoImage]
    annotations: Mapping[ImageId, list[CocoAnnotation]]
    categories: tuple[str, ...]
    findings: list[Finding] = field(default_factory=list)


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
    annotations = _annotations(whole, name, images, categories, findings)
    names = tuple(categories[key] for key in sorted(categories, key=lambda k: (isinstance(k, str), k)))
    return CocoFile(images, annotations, names, findings)


def _load_json(file: Path, name: str) -> Mapping[str, Any]:
    try:
        with file.open(encoding="utf-8-sig") as stream:
            whole = json.load(stream)
    except json.JSONDecodeError as error:
        raise DataError(
            f"the annotations are not JSON: {error.msg}", where=f"{name}:{error.lineno}:{error.colno}"
        ) from error
    except (OSError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise DataError("the annotations can't be read", where=name, found=str(error)) from error
    if not isinstance(whole, dict):
        raise DataError(
            "the annotations are not COCO",
            where=name,
            found=f"a JSON {type(whole).__name__}",
            allowed="an object with images, annotations and categories",
        )
    return whole


def _entries(whole: Mapping[str, Any], key: str, name: str) -> list[Any]:
    entries = whole.get(key)
    if not isinstance(entries, list):
        raise DataError(
            f"the annotations have no list {key!r}",
            where=name,
            found=", ".join(map(str, whole)) or "an empty object",
            allowed="images, annotations and categories",
        )
    return entries


def _categories(whole: Mapping[str, Any], name: str) -> dict[ImageId, str]:
    found: dict[ImageId, str] = {}
    for index, entry in enumerate(_entries(whole, "categories", name)):
        key = entry.get("id") if isinstance(entry, dict) else None
        label = entry.get("name") if isinstance(entry, dict) else None
        if not _is_id(key) or not isinstance(label, str) or not label.strip():
            what = "a category needs `id` and `name`"
        elif key in found:
            what = f"category id {key!r} is used twice"
        elif label.strip() in found.values():
            what = f"category name {label!r} is used twice"
        else:
            found[key] = label.strip()
            continue
        raise DataError(what, where=f"{name}:categories[{index}]", found=repr(entry)[:200])
    return found


def _is_id(value: object) -> TypeGuard[ImageId]:
    return isinstance(value, int | str) and not isinstance(value, bool)


def _image(entry: object, index: int) -> CocoImage | None:
    if not isinstance(entry, dict) or not _is_id(entry.get("id")):
        return None
    file_name = entry.get("file_name")
    if not isinstance(file_name, str) or not file_name:
        return None
    width, height = entry.get("width"), entry.get("height")
    size = None
    if isinstance(width, int) and isinstance(height, int) and width > 0 and height > 0:
        size = (width, height)
    extra = {k: v for k, v in entry.items() if isinstance(v, str | int) and k not in ("file_name", "id")}
    return CocoImage(entry["id"], file_name, size, index, extra)


def _annotations(
    whole: Mapping[str, Any],
    name: str,
    images: Mapping[ImageId, CocoImage],
    categories: Mapping[ImageId, str],
    findings: list[Finding],
) -> dict[ImageId, list[CocoAnnotation]]:
    found: dict[ImageId, list[CocoAnnotation]] = {key: [] for key in images}
    orphans: list[int] = []
    first: dict[object, int] = {}
    for index, entry in enumerate(_entries(whole, "annotations", name)):
        where = f"{name}:annotations[{index}]"
        key = entry.get("id") if isinstance(entry, dict) else None
        if _is_id(key) and first.setdefault(key, index) != index:
            reason = f"annotation id {key!r} is used again; first in annotations[{first[key]}]"
            findings.append(Finding("duplicate_id", "error", where, reason))
        elif not isinstance(entry, dict) or not _is_id(entry.get("image_id")):
            findings.append(Finding("bad_annotation", "error", where, "an annotation needs `image_id`"))
        elif entry["image_id"] not in images:
            orphans.append(index)
        elif not _is_id(entry.get("category_id")) or entry["category_id"] not in categories:
            reason = f"category {entry.get('category_id')!r} is not among the categories"
            findings.append(Finding("unknown_label", "error", where, reason))
        else:
            label = categories[entry["category_id"]]
            found[entry["image_id"]].append(
                CocoAnnotation(
                    label,
                    _bbox(entry.get("bbox")),
                    entry.get("segmentation"),
                    bool(entry.get("iscrowd", 0)),
                    index,
                    _area(entry.get("area")),
                )
            )
    if orphans:
        reason = f"{len(orphans)} annotations belong to images that are not listed"
        findings.append(Finding("unknown_image", "warning", f"{name}:annotations[{orphans[0]}]", reason))
    return found


def _bbox(value: object) -> tuple[float, float, float, float] | None:
    if not isinstance(value, list) or len(value) != 4:
        return None
    if not all(isinstance(v, int | float) and not isinstance(v, bool) for v in value):
        return None
    x, y, width, height = (float(v) if abs(v) < 1e300 else math.nan for v in value)
    return x, y, width, height


def _area(value: object) -> float | None:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    return float(value) if 0 < value < 1e300 else None
