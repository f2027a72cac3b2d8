"""Memory for decoded images: how large one may be, and how much all that are decoded at once may take."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from transferflow.limits import MAX_DECODING_BYTES, MAX_IMAGE_BYTES, MAX_PIXELS


class TooLargeError(ValueError):
    """The image would take more memory or work than any may; the message says how much."""


class Claim(Protocol):
    """Asks for the memory of an image before it is decoded."""

    def __call__(self, width: int, height: int, bytes_per_pixel: int) -> None:
        """Wait until there is room.

        Args:
            width: Pixels.
            height: Pixels.
            bytes_per_pixel: Of all bands together.

        Raises:
            TooLargeError: If the image is larger than any may be.
        """


def free_claim(width: int, height: int, bytes_per_pixel: int) -> None:
    """Hold an image against the limits of one, and wait for nothing.

    Raises:
        TooLargeError: If it is too large.
    """
    if width * height > MAX_PIXELS:
        raise TooLargeError(f"{width} x {height} pixels are taken for a decompression bomb")
    if width * height * bytes_per_pixel > MAX_IMAGE_BYTES:
        size = width * height * bytes_per_pixel / 2**30
        raise TooLargeError(f"{width} x {height} pixels of {bytes_per_pixel} bytes take {size:.1f} GiB")


class DecodingRoom:
    """Room for the images that the threads of this process decode at once; who finds none waits."""

    def __init__(self, size: int) -> None:
        """Begin with all of the room free.

        Args:
            size: Bytes of decoded values; an image that is larger waits until it is alone.
        """
        self._size = size
        self._reset()

    def _reset(self) -> None:
        self._taken = 0
        self._changed = threading.Condition()

    @contextmanager
    def claim(self) -> Iterator[Claim]:
        """Yield a claim whose bytes are given back at the end of the block."""
        mine = 0

        def take(width: int, height: int, bytes_per_pixel: int) -> None:
            nonlocal mine
            free_claim(width, height, bytes_per_pixel)
            wanted = width * height * bytes_per_pixel
            with self._changed:
                # What this image took before (its file was tried with another reader) counts once.
                self._taken, mine = self._taken - mine, 0
                self._changed.wait_for(lambda: not self._taken or self._taken + wanted <= self._size)
                self._taken += wanted
                mine = wanted

        try:
            yield take
        finally:
            with self._changed:
                self._taken -= mine
                self._changed.notify_all()

    def forget(self) -> None:
        """Begin anew, in a forked process: the threads that held the room are not in it."""
        self._reset()


ROOM = DecodingRoom(MAX_DECODING_BYTES)
os.register_at_fork(after_in_child=ROOM.forget)
