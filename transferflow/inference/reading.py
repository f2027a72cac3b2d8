"""Images to predict on, read while the model computes: decoding leaves Python to other threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from transferflow.cpus import usable_cpus
from transferflow.data.files.geometry import Pixels
from transferflow.data.transforms.evaluation import EvalTransform
from transferflow.inference.batches import BATCH
from transferflow.inference.sources import Failure, NamedImage, read_image

_MOST_THREADS = 4
"""Each holds an image in its own size while it decodes."""


@dataclass(frozen=True)
class Fitted:
    """An image that was read.

    Attributes:
        pixels: uint8, H x W x C, fitted to what the model sees.
        size: Width and height of the image itself in pixels.
    """

    pixels: Pixels
    size: tuple[int, int]


def read_ahead(
    transform: EvalTransform, images: Iterable[NamedImage]
) -> Iterator[tuple[str, Fitted | Failure]]:
    """Names of the images, and what was read of each, in their order.

    Files and their content are read by threads, at most a batch ahead. Pillow's images and arrays, which
    their owner may use meanwhile, are read when it is their turn.

    Args:
        transform: Says what the model sees of an image.
        images: Taken one after the other, as there is room.
    """
    threads = min(_MOST_THREADS, usable_cpus())
    ahead = threads if transform.keeps_shape else BATCH
    waiting: deque[tuple[str, Callable[[], Fitted | Failure]]] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="read")
    try:
        for image in images:
            read: Callable[[], Fitted | Failure] = partial(_fit, transform, image)
            if isinstance(image.source, Path | bytes):
                read = pool.submit(read).result
            waiting.append((image.name, read))
            if len(waiting) > ahead:
                name, found = waiting.popleft()
                yield name, found()
        for name, found in waiting:
            yield name, found()
    finally:
        pool.shutdown(cancel_futures=True)


def _fit(transform: EvalTransform, image: NamedImage) -> Fitted | Failure:
    pixels = read_image(transform, image)
    if isinstance(pixels, Failure):
        return pixels
    return Fitted(transform.fit(transform.resize_image(pixels)), (pixels.shape[1], pixels.shape[0]))
