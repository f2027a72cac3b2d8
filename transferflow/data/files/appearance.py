"""A fingerprint of what an image looks like, which survives resizing, recompression and brightening."""

from __future__ import annotations

import hashlib
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

LOW_CONTRAST = 64
"""Where an image spans fewer 8-bit values, those that its file holds are looked at."""
HASH_BYTES = 32
_BITS = HASH_BYTES * 8
_SIDE = 32
_LOW = 16
_NOISE = 2.0
"""Frequencies weaker than this (in gray values, of 32 x 32 pixels) are recompression noise."""


def perceptual_hash(gray: Image.Image) -> bytes | None:
    """256 bits of which images that look alike share most: each is the side of a random plane.

    The planes cut the space of the image's low frequencies (discrete cosine transform, 16 x 16), weighed by
    the square root so that details count beside the coarse layout. Two images at an angle of `a` differ in
    256 a / pi bits (M. Charikar: Similarity estimation techniques from rounding algorithms, 2002). Against
    the median of the frequencies, as usual, smooth images have bits that are nothing but noise.

    Args:
        gray: An image of mode L.

    Returns:
        32 bytes; `None` for a flat image, as all flat images look alike.
    """
    from scipy.fft import dctn  # a quarter of a second, which a plan need not wait for

    small = np.asarray(gray.resize((_SIDE, _SIDE), Image.Resampling.BILINEAR), dtype=np.float32)
    low: NDArray[np.float32] = dctn(small, norm="ortho")[:_LOW, :_LOW].ravel()
    low[0] = 0.0  # brightness
    strength = np.maximum(np.abs(low) - _NOISE, 0.0)
    if not strength.any():
        return None
    weighed = np.sign(low) * np.sqrt(strength)
    return np.packbits(weighed @ _planes() > 0).tobytes()


@cache
def _planes() -> NDArray[np.float32]:
    """Normals of the planes, +1 or -1: the same on every machine and with every version of NumPy."""
    stream = hashlib.shake_256(b"perceptual hash").digest(_LOW * _LOW * HASH_BYTES)
    signs = np.unpackbits(np.frombuffer(stream, np.uint8)).reshape(_LOW * _LOW, _BITS)
    return signs.astype(np.float32) * 2 - 1
