"""Images of a split, one by one: from the manifest's row to what the model sees."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from transferflow.data.files.geometry import Pixels, pad_to_size, scale_boxes
from transferflow.data.formats.mask_coding import store_coding
from transferflow.data.formats.masks import MaskFiles, mask_files_of
from transferflow.data.loading.cache import CacheFolder, DecodedCache, build_cache
from transferflow.data.loading.seeds import derive_seed
from transferflow.data.records import DatasetSnapshot
from transferflow.data.snapshot.pixels import read_image, read_true_mask
from transferflow.data.snapshot.rows import Rows
from transferflow.data.transforms.evaluation import EvalTransform
from transferflow.data.transforms.sample import Resized, Sample
from transferflow.data.transforms.training import TrainTransform
from transferflow.errors import DataError, TransferflowError
from transferflow.machine import machine_error
from transferflow.spec.sections.size import Size
from transferflow.spec.sections.truth import BoxTruth, MaskTruth, Truth
from transferflow.store import digest

_DECODER_VERSION = 2
"""Raise it when decoding, resizing or what is checked before changes; no cache keeps the old pixels then."""
Key = tuple[int, int]
"""Epoch, and place of the image among the rows."""


@dataclass(frozen=True)
class RawBatch:
    """A batch before normalisation, as workers send it.

    Attributes:
        places: Place of each image among the rows.
        images: uint8, B x H x W x C.
        sizes: Height and width of each image within `images`; the rest is padding.
        masks: uint8, B x H x W (segmentation).
        boxes: float32, N x 4, per image (detection).
        labels: int64, N, per image (detection).
    """

    places: list[int]
    images: Tensor
    sizes: list[Size]
    masks: Tensor | None
    boxes: list[Tensor]
    labels: list[Tensor]

    def truth(self, at: int) -> tuple[Tensor, ...]:
        """What moves with an image of the batch: its mask, or its boxes and labels."""
        if self.masks is not None:
            return (self.masks[at],)
        return (self.boxes[at], self.labels[at]) if self.boxes else ()

    def pin_memory(self) -> Self:
        """The batch with its pixels where a GPU fetches them by itself; torch's loader calls it."""
        masks = None if self.masks is None else self.masks.pin_memory()
        return replace(self, images=self.images.pin_memory(), masks=masks)

    @classmethod
    def without_images(cls, places: list[int], truths: Sequence[Sequence[Tensor]]) -> Self:
        """A batch of truths alone, as `truth` gave them."""
        masks = [truth[0] for truth in truths if len(truth) == 1]
        boxes = [truth for truth in truths if len(truth) == 2]
        return cls(
            places,
            torch.empty(0, dtype=torch.uint8),
            [],
            torch.stack(masks) if masks else None,
            [truth[0] for truth in boxes],
            [truth[1] for truth in boxes],
        )


class ImageDataset(Dataset[Any]):
    """Reads, resizes, varies and fits images; what it returns depends on (seed, epoch, image id) alone."""

    def __init__(
        self,
        rows: Rows,
        classes: Sequence[str],
        transform: EvalTransform | TrainTransform,
        *,
        boxes: bool,
        masks: MaskFiles | None,
        seed: int,
    ) -> None:
        self.rows = rows
        self._numbers = {name: number for number, name in enumerate(classes)}
        self._base = transform.base if isinstance(transform, TrainTransform) else transform
        self._variation = transform if isinstance(transform, TrainTransform) else None
        self._boxes = boxes
        self._masks = masks
        self._seed = seed
        self._cache: DecodedCache | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: Key) -> Sample:
        """The image at `key`, fitted; boxes in pixels of what the model sees."""
        epoch, place = key
        sample = self._with_boxes(place, self._resized(place))
        if self._variation is None:
            return self._base.fit_sample(sample)
        return self._variation.vary(sample, derive_seed(self._seed, epoch, self.rows.id(place)))

    def __getitems__(self, keys: Sequence[Key]) -> RawBatch | TransferflowError:
        """A whole batch; an error is returned, as torch would turn it into a text with a traceback."""
        try:
            samples = [self[key] for key in keys]
        except TransferflowError as error:
            return error
        except (OSError, MemoryError) as error:
            named = machine_error(error)
            if named is None:
                raise
            return named
        masks = [s.mask for s in samples if s.mask is not None]
        return RawBatch(
            [place for _, place in keys],
            _padded([s.image for s in samples]),
            [(s.image.shape[0], s.image.shape[1]) for s in samples],
            torch.from_numpy(np.stack(masks)) if self._masks is not None else None,
            [torch.from_numpy(s.boxes) for s in samples if s.boxes is not None],
            [torch.from_numpy(s.labels) for s in samples if s.labels is not None],
        )

    def use_cache(self, place: CacheFolder) -> bool:
        """Decode and resize all images now, unless the cache has them; `False` if they do not fit."""
        bands = self._base.channels + (self._masks is not None)
        sizes = (math.prod(self._base.resized(size)) * bands for size in self.rows.sizes())
        self._cache = build_cache(place, digest(self._decoding()), self.rows.contents(), sizes, self._decode)
        return self._cache is not None

    def _decoding(self) -> dict[str, object]:
        """What decides, besides the files, what an image is once decoded and resized."""
        masks = self._masks
        return {
            "version": _DECODER_VERSION,
            "channels": self._base.channels,
            "intensity": self._base.intensity.model_dump(mode="json"),
            "interpolation": self._base.interpolation,
            "mode": self._base.mode,
            "resize": self._base.resize,
            **self._base.rule,
            "masks": masks and [masks.classes, store_coding(masks.coding)],
        }

    @property
    def is_varied(self) -> bool:
        """Whether an image looks different in another epoch."""
        return self._variation is not None and self._variation.is_varied

    def appearance(self) -> str:
        """Digest of what decides, besides `content_key`, what an image and its truth are."""
        steps = self._variation.steps if self._variation is not None else ()
        return digest(
            {
                "decoding": self._decoding(),
                "transform": self._base.to_json(),
                "steps": [step.model_dump(mode="json") for step in steps],
                "seed": self._seed if self.is_varied else None,
                "classes": self._numbers if self._boxes else None,
            }
        )

    def content_key(self, key: Key) -> str:
        """What decides, besides `appearance`, what the image at `key` and its truth are."""
        epoch, place = key
        parts = [self.rows.content(place)]
        if self._boxes:
            row = self.rows[place]
            boxes = [[b.x_min, b.y_min, b.x_max, b.y_max, b.label, b.crowd] for b in row.boxes]
            parts.append(digest([boxes, row.width, row.height]))
        if self.is_varied:
            parts.append(digest([epoch, self.rows.id(place)]))
        return ":".join(parts)

    def _resized(self, place: int) -> Resized:
        found = None
        if self._cache is not None:
            found = self._cache.read(self.rows.content(place))
        return found or self._decode(place)

    def _decode(self, place: int) -> Resized:
        row = self.rows[place]
        image = read_image(row, self._base.channels, self._base.intensity)
        mask = None
        if self._masks is not None:
            mask = self._base.resize_mask(read_true_mask(self._masks, row))
        return Resized(self._base.resize_image(image), mask, (image.shape[0], image.shape[1]))

    def _with_boxes(self, place: int, resized: Resized) -> Sample:
        if not self._boxes:
            return Sample(resized.image, mask=resized.mask)
        # A crowd region stands for objects that nobody has counted: no target to learn.
        objects = [box for box in self.rows[place].boxes if not box.crowd]
        corners = np.array([(b.x_min, b.y_min, b.x_max, b.y_max) for b in objects], np.float32).reshape(-1, 4)
        size = (resized.image.shape[0], resized.image.shape[1])
        return Sample(
            resized.image,
            boxes=scale_boxes(corners, resized.original, size),
            labels=np.array([self._number(place, box.label) for box in objects], np.int64),
        )

    def _number(self, place: int, label: str) -> int:
        try:
            return self._numbers[label]
        except KeyError:
            row = self.rows[place]
            raise DataError(
                f"the label {label!r} is not a class of the data set",
                where=row.source or row.path,
                allowed=", ".join(self._numbers),
            ) from None

    def class_numbers(self) -> NDArray[np.int64]:
        """Class of each image, for data with one label per image.

        Raises:
            DataError: If an image has no label or several.
        """
        labels = self.rows.column("labels")
        for place, names in enumerate(labels):
            if len(names) != 1:
                row = self.rows[place]
                raise DataError(
                    f"the image has {len(names)} labels; one is expected",
                    where=row.source or row.path,
                    hint="set task.multilabel: true if images carry several labels",
                )
        return np.array([self._number(place, name) for place, (name,) in enumerate(labels)], np.int64)

    def numbers(self) -> NDArray[np.float32]:
        """Number of each image, for data whose truth that is."""
        return np.array(self.rows.numbers(), np.float32)

    def class_sets(self) -> NDArray[np.float32]:
        """Images x classes, 1 where an image carries the label."""
        found = np.zeros((len(self.rows), len(self._numbers)), np.float32)
        for place, names in enumerate(self.rows.column("labels")):
            found[place, [self._number(place, name) for name in names]] = 1
        return found


def _padded(images: Sequence[Pixels]) -> Tensor:
    """Images of any sizes, padded at the bottom and the right."""
    size = (max(image.shape[0] for image in images), max(image.shape[1] for image in images))
    return torch.from_numpy(np.stack([pad_to_size(image, size, 0) for image in images]))


def build_dataset(
    snapshot: DatasetSnapshot,
    rows: Rows,
    transform: EvalTransform | TrainTransform,
    truth: Truth,
    seed: int,
) -> ImageDataset:
    """Build the data set of some rows of a snapshot, with what the truth adds to the images."""
    masks = mask_files_of(snapshot, truth.ignored_value) if isinstance(truth, MaskTruth) else None
    boxes = isinstance(truth, BoxTruth)
    return ImageDataset(rows, snapshot.classes, transform, boxes=boxes, masks=masks, seed=seed)
