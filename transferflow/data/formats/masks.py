"""Masks as their files hold them: index, palette, colour or COCO annotations, mapped to class indices."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from transferflow.data.files.boxes import Seen
from transferflow.data.files.geometry import Pixels
from transferflow.data.files.paths import split_mask
from transferflow.data.files.pixels import orient
from transferflow.data.formats.coco import BACKGROUND
from transferflow.data.formats.coco_file import CocoFile, CocoImage, load_coco_file
from transferflow.data.formats.mask_coding import index_coding, show_colour
from transferflow.data.formats.mask_pixels import Palette, Values, read_mask
from transferflow.data.formats.rle import draw_runs, encode_segmentation
from transferflow.data.records import DatasetSnapshot, MaskCoding
from transferflow.errors import DataError
from transferflow.limits import MAX_DRAWN
from transferflow.store import file_digest

_MAX_VALUES = 300
_BLOCK = 1 << 20
"""Pixels that are mapped at a time."""


@dataclass(frozen=True, slots=True)
class MaskFacts:
    """What one mask holds.

    Attributes:
        mask_sha256: Hash of the file's bytes, or of the image's annotations in a COCO file.
        mask_size: Bytes of the file.
        mask_mtime_ns: Time of the file's last change.
        mask_width: Pixels.
        mask_height: Pixels.
        mask_values: Raw values, see `MaskFiles.read_raw`.
        mask_counts: Pixels of each of them.
        mask_colours: What a palette shows each of them in, packed as 0xRRGGBB; empty without a palette.
        problem_kind: Why it can't be used, as a slug.
        problem: The same in a sentence.
    """

    mask_sha256: str | None = None
    mask_size: int = 0
    mask_mtime_ns: int = 0
    mask_width: int = 0
    mask_height: int = 0
    mask_values: tuple[int, ...] = ()
    mask_counts: tuple[int, ...] = ()
    mask_colours: tuple[int, ...] = ()
    problem_kind: str | None = None
    problem: str | None = None


@dataclass(frozen=True)
class MaskFiles:
    """The masks of one data set.

    Attributes:
        root: Folder of the data set.
        classes: Class names in order; a class's place is its value in the masks that are returned.
        coding: What the values in the files mean.
    """

    root: Path
    classes: tuple[str, ...]
    coding: MaskCoding

    def read(self, mask: str, seen: Seen) -> Pixels:
        """Class index of every pixel of the image as it is seen: uint8, H x W.

        Raises:
            DataError: If the mask is damaged, has another size, or holds a value that is no class.
        """
        raw = self.read_raw(mask)
        height, width = raw.shape
        if not seen.matches((width, height)):
            raise DataError(
                "the mask has another size than its image",
                where=mask,
                found=f"{width} x {height}",
                allowed=f"{seen.width} x {seen.height}",
            )
        indices = self.to_classes(raw, mask)
        return (
            np.ascontiguousarray(orient(indices, seen.orientation))
            if seen.turns((width, height))
            else indices
        )

    def digest(self, mask: str) -> str:
        """sha256 (hex) of a mask's file, or of its image's annotations in a COCO file.

        Raises:
            OSError: If the file can't be read.
            DataError: If it is a COCO file that can't be read, or does not list the image.
        """
        file, image_id = split_mask(mask)
        if image_id is None:
            return file_digest(self.root / file)
        return _annotation_digest(load_annotations(self.root, file), image_id)

    def read_raw(self, mask: str) -> Values:
        """Values as the file has them (colours packed as 0xRRGGBB, COCO objects drawn): int32, H x W.

        Raises:
            DataError: If the mask can't be read.
        """
        return self.read_with_palette(mask)[0]

    def read_with_palette(self, mask: str) -> tuple[Values, Palette]:
        """Raw values, see `read_raw`, and the colours that a file of indices shows them in, if it does.

        Raises:
            DataError: If the mask can't be read.
        """
        file, image_id = split_mask(mask)
        if image_id is not None:
            return self._draw(load_annotations(self.root, file), image_id), ()
        return read_mask(self.root / file, colours=self.coding.colours)

    def to_classes(self, raw: Values, mask: str) -> Pixels:
        """Map raw values to class indices.

        Raises:
            DataError: If a value is no class.
        """
        values = np.unique(raw)
        indices = [self.class_of(int(value)) for value in values]
        if None in indices:
            unknown = int(values[indices.index(None)])
            raise DataError("the mask holds a value that is no class", where=mask, found=self.show(unknown))
        numbers = np.array(indices, np.uint8)
        found = np.empty(raw.shape, np.uint8)
        step = max(1, _BLOCK // max(1, raw.shape[1]))  # places take eight bytes a pixel
        for top in range(0, len(raw), step):
            found[top : top + step] = numbers[np.searchsorted(values, raw[top : top + step])]
        return found

    def class_of(self, value: int) -> int | None:
        """Class index (or the ignored value) of a raw value; `None` if it is neither."""
        if value in self.coding.void:
            return self.coding.ignored
        name = self.coding.values.get(value)
        return self.classes.index(name) if name in self.classes else None

    def show(self, value: int) -> str:
        """A raw value for people."""
        if not self.coding.colours:
            return f"value {value}"
        return f"colour {show_colour(value)}"

    def _draw(self, coco: CocoFile, image_id: str) -> Values:
        """Objects over background, the small ones on top; crowds lie below all others."""
        image = _find_image(coco, image_id)
        if image.size is None:
            raise DataError("an image of the COCO file has no size", where=f"images[{image.index}]")
        unlabelled = self.classes.index(BACKGROUND) if BACKGROUND in self.classes else self.coding.ignored
        canvas = np.full(image.size, unlabelled, np.int32)
        layers = [(a, encode_segmentation(a.segmentation, image.size)) for a in coco.annotations[image.id]]
        areas = [sum(runs[1::2]) for _, runs in layers]
        if sum(areas) > MAX_DRAWN:
            raise DataError(
                "the objects of an image cover it over and over",
                where=f"images[{image.index}]",
                found=f"{sum(areas):,} pixels",
                allowed=f"at most {MAX_DRAWN:,}",
            )
        order = sorted(range(len(layers)), key=lambda n: (not layers[n][0].crowd, -areas[n]))
        for annotation, runs in (layers[n] for n in order):
            if annotation.label in self.classes:
                draw_runs(runs, canvas, self.classes.index(annotation.label))
        return canvas.T


def mask_files_of(snapshot: DatasetSnapshot, ignored: int) -> MaskFiles:
    """Masks of a snapshot; pixels that do not count become `ignored`."""
    coding = snapshot.coding or index_coding(snapshot.classes, ignored)
    return MaskFiles(snapshot.root, snapshot.classes, replace(coding, ignored=ignored))


def inspect_mask(files: MaskFiles, mask: str) -> MaskFacts:
    """Read one mask; never raises for what is in it."""
    try:
        status = (files.root / split_mask(mask)[0]).stat()
        sha256 = files.digest(mask)
        raw, palette = files.read_with_palette(mask)
    except OSError as error:
        reason = error.strerror or error
        return MaskFacts(problem_kind="bad_mask", problem=f"the mask can't be read: {reason}")
    except DataError as error:
        return MaskFacts(problem_kind="bad_mask", problem=_in_a_line(error))
    values, counts = (found[:_MAX_VALUES].tolist() for found in np.unique(raw, return_counts=True))
    height, width = raw.shape
    stamp = (sha256, status.st_size, status.st_mtime_ns)
    colours = tuple(palette[value] for value in values) if palette and max(values) < len(palette) else ()
    return MaskFacts(*stamp, width, height, tuple(values), tuple(counts), colours)


def _in_a_line(error: DataError) -> str:
    """What is wrong and what to do; where it is stands beside it in a finding."""
    problem = error.problems[0]
    what = f"{problem.what} ({problem.found})" if problem.found else problem.what
    return f"{what}: {problem.hint}" if problem.hint else what


def load_annotations(root: Path, file: str) -> CocoFile:
    """Read a COCO file, or take it from memory while it has not changed."""
    return _load_annotations(root / file, file, (root / file).stat().st_mtime_ns)


@lru_cache(maxsize=4)
def _load_annotations(path: Path, name: str, mtime_ns: int) -> CocoFile:
    return load_coco_file(path, name)


def _annotation_digest(coco: CocoFile, image_id: str) -> str:
    image = _find_image(coco, image_id)
    content: Sequence[object] = [[a.label, a.segmentation, a.crowd] for a in coco.annotations[image.id]]
    ordered = sorted(json.dumps(entry) for entry in content)
    return hashlib.sha256(json.dumps([image.size, ordered]).encode()).hexdigest()


def _find_image(coco: CocoFile, image_id: str) -> CocoImage:
    for key in (image_id, int(image_id) if image_id.lstrip("-").isdecimal() else None):
        if key is not None and key in coco.images:
            return coco.images[key]
    raise DataError("the COCO file has no such image", found=image_id)
