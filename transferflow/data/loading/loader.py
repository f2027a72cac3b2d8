"""Batches in an order, and with variations, that are a pure function of (seed, epoch, image id)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from transferflow.cpus import own_cpus
from transferflow.data.loading.batch import CPU, Batch
from transferflow.data.loading.cache import CacheFolder
from transferflow.data.loading.dataset import ImageDataset, Key, RawBatch, build_dataset
from transferflow.data.loading.order import EpochBatches, aspect_groups
from transferflow.data.loading.seeds import derive_seed
from transferflow.data.loading.shares import WHOLE, Share
from transferflow.data.loading.starting import begin_early, build_context
from transferflow.data.loading.targets import Targets, targets_per_image
from transferflow.data.loading.workers import decide_workers, describe_death, start_worker
from transferflow.data.records import DatasetSnapshot, SplitName
from transferflow.data.snapshot.manifest import read_rows
from transferflow.data.transforms.evaluation import EvalTransform
from transferflow.data.transforms.mixing import mix_batch
from transferflow.data.transforms.training import TrainTransform
from transferflow.errors import DataError, TransferflowError
from transferflow.spec.sections.size import Size
from transferflow.spec.sections.truth import Truth

_Place = tuple[int, int, int | None]
"""Epoch, its first batch to be read, and the one to end before."""
_SMALL_IMAGE = 160
"""Up to this side, reading an image from the cache costs less than sending it between processes."""


class ChosenBatches(Sampler[list[Key]]):
    """Whatever batches are to be read next."""

    def __init__(self) -> None:
        self.batches: Iterable[list[Key]] = ()

    def __iter__(self) -> Iterator[list[Key]]:
        return iter(self.batches)


class Loader:
    """Batches of one split; see `training.job.EpochLoader`."""

    def __init__(
        self,
        dataset: ImageDataset,
        batches: EpochBatches,
        targets: Targets,
        transform: EvalTransform | TrainTransform,
        *,
        seed: int,
        workers: int,
        device: torch.device,
        epochs: int = 0,
    ) -> None:
        self.dataset, self._device = dataset, device
        self._epochs = epochs
        self._begun: tuple[_Place, Iterator[RawBatch]] | None = None
        self.plan, self.workers = batches, workers
        self._chosen = ChosenBatches()
        self._targets, self._seed = targets, seed
        self._mixing = transform if isinstance(transform, TrainTransform) else None
        self._base = transform.base if isinstance(transform, TrainTransform) else transform
        self._keeps_shape = transform.keeps_shape
        self._loader: DataLoader[Any] = DataLoader(
            dataset,
            batch_sampler=self._chosen,
            num_workers=workers,
            collate_fn=_as_it_is,
            worker_init_fn=start_worker if workers else None,
            persistent_workers=workers > 0,
            pin_memory=device.type == "cuda",  # beside the training, in a thread of torch's loader
            # Without one it draws from the global generator, per epoch or once, as the workers have it: what
            # the model draws then (dropout, sampled boxes) would depend on them.
            generator=torch.Generator(),
        )
        if workers:
            begin_early(_uses_cuda(device))

    def __len__(self) -> int:
        return len(self.plan)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of the images of a batch."""
        return (self._base.channels, *self._base.image_size)

    @property
    def keeps_shape(self) -> bool:
        """Whether batches differ in height and width."""
        return self._keeps_shape

    @property
    def mixes(self) -> bool:
        """Whether images of a batch are mixed with each other."""
        return self._mixing is not None and bool(self._mixing.mixup or self._mixing.cutmix)

    def epoch(self, number: int, first: int = 0, end: int | None = None) -> Iterator[Batch]:
        """Iterate over one epoch (numbered from 0); finish it before starting another one.

        Args:
            number: Of the epoch.
            first: Batch to begin with; no image of those before it is read.
            end: Batch to end before; left out: all of them.

        Raises:
            DataError: If an image can no longer be read, or a loader process dies.
        """
        for step, raw in enumerate(self._reading((number, first, end)), first):
            batch = self._finish(raw, derive_seed(self._seed, number, "mix", step))
            yield batch if self.plan.counts(step) else replace(batch, counts=False)
        if self.workers and end is None and number + 1 < self._epochs:
            self._begin((number + 1, 0, None))

    def read(self, batches: Iterable[list[Key]]) -> Iterator[RawBatch]:
        """Read any images in any batches; finish before reading others.

        Raises:
            DataError: If an image can no longer be read, or a loader process dies.
        """
        self._begun = None
        self._chosen.batches = batches
        if self.workers and self._loader.multiprocessing_context is None:  # the processes start now
            self._loader.multiprocessing_context = build_context(_uses_cuda(self._device))
        return _checked(self._loader)

    def _reading(self, place: _Place) -> Iterator[RawBatch]:
        """Batches of an epoch, which may have begun to be read."""
        begun, self._begun = self._begun, None
        return begun[1] if begun and begun[0] == place else self.read(self._planned(place))

    def _planned(self, place: _Place) -> EpochBatches:
        self.plan.epoch, self.plan.first, self.plan.end = place
        return self.plan

    def _begin(self, place: _Place) -> None:
        """Let the loader processes read the first batches of an epoch, which nobody waits for then."""
        self._chosen.batches = self._planned(place)
        try:
            self._begun = place, _checked(iter(self._loader))
        except RuntimeError as error:
            raise describe_death(error) or error from None

    def normalize(self, raw: RawBatch) -> tuple[Tensor, tuple[Size, ...]]:
        """Images of a batch as the model sees them, see `EvalTransform.batch`.

        They go to the device as they are, a quarter of the bytes, and become numbers there.
        """
        return self._base.batch(raw.images.to(self._device, non_blocking=True), raw.sizes)

    def played(
        self, places: Sequence[int], truths: Sequence[Sequence[Tensor]], activations: tuple[Tensor, ...]
    ) -> Batch:
        """A batch whose images have been through a part of the model already.

        Args:
            places: Place of each image among the rows.
            truths: What `RawBatch.truth` gave for each.
            activations: What that part of the model computed.
        """
        images = torch.zeros(()).expand(len(places), *self.shape)
        targets = self._targets.of(RawBatch.without_images(list(places), truths))
        ids = tuple(map(self.dataset.rows.id, places))
        return Batch(images, targets, ids, activations=activations)

    def _finish(self, raw: RawBatch, seed: int) -> Batch:
        images, sizes = self.normalize(raw)
        ids = tuple(map(self.dataset.rows.id, raw.places))
        mixing = self._mixing
        if mixing is None or not self.mixes:
            return Batch(images, self._targets.of(raw), ids, sizes=sizes)
        shares = self._targets.shares_of(raw)
        images, shares = mix_batch(images, shares, mixup=mixing.mixup, cutmix=mixing.cutmix, seed=seed)
        return Batch(images, shares, ids)


def build_loader(
    snapshot: DatasetSnapshot,
    split: SplitName,
    *,
    transform: EvalTransform | TrainTransform,
    batch_size: int,
    seed: int,
    workers: int | Literal["auto"],
    truth: Truth,
    train: bool,
    cache: CacheFolder | None,
    share: Share = WHOLE,
    device: torch.device = CPU,
    epochs: int = 0,
) -> Loader:
    """Build the loader of one split; fills the decoded-image cache first.

    Args:
        snapshot: The data set.
        split: Which images.
        transform: Evaluation or training transform.
        batch_size: Images per batch; the last one may be smaller. Where images keep their shape, those of
            like shape are trained on together, and others are read one by one.
        seed: Decides order and variations, together with the epoch and the image id.
        workers: Processes that load images; the batches are the same for any number.
        truth: Decides the targets.
        train: Whether to shuffle, and to leave out a last batch of one image.
        cache: Where decoded images are kept; `None` decodes them in every epoch.
        share: Which part of each batch is this process's.
        device: Where images are normalised and mixed, and stay; targets stay on the CPU.
        epochs: How many will be asked for one after the other: at the end of one, the next begins to be read.

    Raises:
        DataError: If the split is empty, or an image can't be read.
    """
    rows = read_rows(snapshot, split)
    if not rows:
        raise DataError(f"the split {split!r} has no images", where=str(snapshot.root))
    dataset = build_dataset(snapshot, rows, transform, truth, seed)
    cached = cache is not None and dataset.use_cache(cache)
    base = transform.base if isinstance(transform, TrainTransform) else transform
    groups = aspect_groups(rows.sizes()) if transform.keeps_shape else None
    # Padding is not seen by chance: what a model answers must not depend on the images beside it.
    size = batch_size if train or not transform.keeps_shape else 1
    return Loader(
        dataset,
        EpochBatches(len(rows), size, seed, shuffle=train, share=share, groups=groups),
        Targets(truth, targets_per_image(dataset, truth), len(snapshot.classes)),
        transform,
        seed=seed,
        workers=decide_workers(workers, cached and max(base.image_size) <= _SMALL_IMAGE, own_cpus()),
        device=device,
        epochs=epochs,
    )


def _uses_cuda(device: torch.device) -> bool:
    return device.type == "cuda" or torch.cuda.is_initialized()


def _checked(batches: Iterable[Any]) -> Iterator[RawBatch]:
    """What the loader processes send, an error raised."""
    try:
        for raw in batches:
            if isinstance(raw, TransferflowError):
                raise raw
            yield raw
    except RuntimeError as error:
        raise describe_death(error) or error from None


def _as_it_is(batch: Any) -> Any:  # noqa: ANN401 - torch's protocol; the data set makes whole batches
    return batch
