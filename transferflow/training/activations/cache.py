"""Batches of activations in place of images: computed where they are lacking, else read."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from transferflow.data.loading.batch import Batch
from transferflow.data.loading.dataset import Key
from transferflow.data.loading.loader import Loader
from transferflow.logs import get_logger
from transferflow.models.cut.cut import Cut, Uncut
from transferflow.store.shards import Blob
from transferflow.training.activations.decide import decide_pays
from transferflow.training.activations.frozen import FrozenPart
from transferflow.training.activations.packing import pack, rows_of, stack, unpack
from transferflow.training.activations.point import Point, name_of
from transferflow.training.activations.room import Blobs, Room

logger = get_logger("training")

_SHARD_BYTES = 1 << 26
"""Activations that are held before they are written: what an interrupted computation loses at most."""
_SECONDS_BETWEEN_LOGS = 20.0
_BYTES_OF_A_BOX = 24


class CachedLoader:
    """Epochs of a loader, with activations in place of images wherever the model's freeze boundary lets them.

    Activations are computed in batches of one size and in the manifest's order, whatever the epoch: a resumed
    training, and one that finds them in the cache, see the same bits.
    """

    def __init__(
        self,
        images: Loader,
        room: Room,
        frozen: FrozenPart,
        *,
        views: int,
        lasts: Callable[[int], int],
    ) -> None:
        """Nothing is computed yet.

        Args:
            images: The batches as they would be.
            room: Where activations are kept.
            frozen: Computes them.
            views: How many views of each image are computed; an epoch takes the next one in turn.
            lasts: How many epochs the boundary of an epoch stays; activations pay from two on.
        """
        self._images = images
        self._room = room
        self._views = views
        self._frozen = frozen
        self._lasts = lasts
        self._keys: dict[Key, str] = {}
        self._said: set[str] = set()
        self._blobs: Blobs | None = None
        self._point: Point | None = None
        self._computed: set[int] = set()
        self.cut: Cut | None = None

    def batches(
        self, model: nn.Module, number: int, first: int = 0, end: int | None = None
    ) -> Iterator[Batch] | None:
        """Batches of an epoch for a model as its modes and `requires_grad` stand; finish before others.

        What is lacking is computed before it returns.

        Args:
            model: On its device.
            number: Of the epoch, from 0.
            first: Batch to begin with.
            end: Batch to end before.

        Returns:
            This process's share of each batch; `None` where the images are to be taken.
        """
        blobs = self._open(model, number)
        if blobs is None or self.cut is None:
            return None
        plan = self._images.plan
        plan.epoch, plan.first, plan.end = number, first, end
        return self._play(model, self.cut, blobs, number % self._views, first)

    def _play(self, model: nn.Module, cut: Cut, blobs: Blobs, view: int, first: int) -> Iterator[Batch]:
        for step, keys in enumerate(self._images.plan, first):
            batch = self._batch(model, cut, blobs, [(view, place) for _, place in keys])
            yield replace(batch, counts=self._images.plan.counts(step))

    def forget(self) -> None:
        """Look at the model anew next time: what was frozen may have been trained meanwhile."""
        self._frozen.finder.forget()
        self._close()
        self.cut = None

    def _close(self) -> None:
        if self._blobs is not None:
            self._blobs.close()
            self._blobs = None

    def _open(self, model: nn.Module, number: int) -> Blobs | None:
        """The activations of an epoch's view, all of them computed; `None` where images are to be taken."""
        view, self.cut = number % self._views, None
        if self._lasts(number) < 2:
            self.forget()
            return None
        found = self._frozen.finder.find(model)
        if isinstance(found, Point) and found is self._point and view in self._computed:
            self.cut = found.cut  # all of it is open still
            return self._blobs
        self._close()
        why = found.reason if isinstance(found, Uncut) else self._open_at(model, found, view)
        if why and why not in self._said:
            self._said.add(why)
            logger.info("activations are not cached: %s", why)
        return self._blobs

    def _open_at(self, model: nn.Module, point: Point, view: int) -> str:
        """Compute what is lacking; return why nothing is kept, if nothing is."""
        size = self._bytes_per_image(model, point.cut)
        if not decide_pays(point.cut, size, self._frozen.device.type):
            return "they take longer to read than to compute"
        self._blobs = self._fill(model, point, size, view)
        if self._blobs is None:
            return "they do not fit beside what is in use"
        if point is not self._point:
            self._point, self._computed = point, set()
        self._computed.add(view)
        self.cut = point.cut
        return ""

    def _fill(self, model: nn.Module, point: Point, size: int, view: int) -> Blobs | None:
        plan = self._images.plan
        batch_size = min(plan.batch_size, plan.images)
        appearance = self._images.dataset.appearance()
        name = name_of(point, model, appearance, self._frozen.arithmetic, batch_size)
        everything = [(v, place) for v in range(self._views) for place in range(plan.images)]
        truths = self._truth_bytes()
        needed = {self._key(key): size + truths[key[1]] for key in everything}
        with self._room.open(name, needed) as blobs:
            if blobs is None:
                return None
            lacking = {self._key(key): key for key in everything if key[0] == view}
            lacking = {key: at for key, at in lacking.items() if key not in blobs}
            if lacking:
                boundary = ", ".join(point.cut.boundary)
                logger.info("computing %d images up to %s once", len(lacking), boundary)
                self._compute_all(model, point.cut, blobs, list(lacking.values()))
            return blobs

    def _compute_all(self, model: nn.Module, cut: Cut, blobs: Blobs, keys: Sequence[Key]) -> None:
        waiting: list[Blob] = []
        size, said = 0, time.monotonic()
        for done, (key, tensors) in enumerate(self._compute(model, cut, keys), 1):
            waiting.append(pack(self._key(key), tensors))
            size += len(waiting[-1].raw)
            if size >= _SHARD_BYTES or done == len(keys):
                if not blobs.write(waiting):
                    return
                waiting, size = [], 0
            if time.monotonic() - said > _SECONDS_BETWEEN_LOGS:
                said = time.monotonic()
                logger.info("computed %d of %d images", done, len(keys))

    def _compute(self, model: nn.Module, cut: Cut, keys: Sequence[Key]) -> Iterator[tuple[Key, list[Tensor]]]:
        """Activations and truth of each image, computed in batches of one size."""
        plan = self._images.plan
        size = min(plan.batch_size, plan.images)
        chunks = [list(keys[first : first + size]) for first in range(0, len(keys), size)]
        whole = [chunk + chunk[-1:] * (size - len(chunk)) for chunk in chunks]
        for chunk, raw in zip(chunks, self._images.read(whole), strict=True):
            columns = [rows_of(t) for t in self._frozen.compute(model, cut, self._images.normalize(raw)[0])]
            for at, key in enumerate(chunk):
                yield key, [*(column[at] for column in columns), *raw.truth(at)]

    def _batch(self, model: nn.Module, cut: Cut, blobs: Blobs, keys: Sequence[Key]) -> Batch:
        found = {key: self._read(blobs, key) for key in keys}
        lacking = [key for key, tensors in found.items() if tensors is None]
        computed: Mapping[Key, list[Tensor]] = dict(self._compute(model, cut, lacking)) if lacking else {}
        rows = [found[key] or computed[key] for key in keys]
        width = len(cut.shapes)
        activations = tuple(stack([row[at] for row in rows]) for at in range(width))
        return self._images.played([place for _, place in keys], [row[width:] for row in rows], activations)

    def _read(self, blobs: Blobs, key: Key) -> list[Tensor] | None:
        name = self._key(key)
        blob = blobs.read(name)
        if blob is None:
            return None
        try:
            return unpack(*blob)
        except ValueError:
            blobs.drop(name)
            return None

    def _bytes_per_image(self, model: nn.Module, cut: Cut) -> int:
        one = self._frozen.compute(model, cut, torch.zeros(1, *self._images.shape))
        return sum(tensor.nbytes for tensor in one)

    def _truth_bytes(self) -> list[int]:
        """Bytes of what stands beside each image."""
        rows = self._images.dataset.rows
        _, height, width = self._images.shape
        counts = zip(rows.box_counts(), rows.column("mask"), strict=True)
        return [_BYTES_OF_A_BOX * boxes + (height * width if mask else 0) for boxes, mask in counts]

    def _key(self, key: Key) -> str:
        if key not in self._keys:
            self._keys[key] = self._images.dataset.content_key(key)
        return self._keys[key]
