"""A fingerprint of what an image looks like, which survives resizing and recompression."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.fft import dctn

HASH_BYTES = 32
_SIDE = 32
_LOW = 16
_MIN_CONTRAST = 2.0


def perceptual_hash(gray: Image.Image) -> bytes | None:
    """256 signs of an image's low frequencies (the DCT hash of phash.org, with 16 x 16 instead of 8 x 8).

    Args:
        gray: An image of mode L.

    Returns:
        32 bytes; `None` for an image that is flat, as all flat images look alike.
    """
    small = np.asarray(gray.resize((_SIDE, _SIDE), Image.Resampling.BILINEAR), dtype=np.float32)
    if small.std() < _MIN_CONTRAST:
        return None
    low: NDArray[np.float32] = dctn(small, norm="ortho")[:_LOW, :_LOW].ravel()
    low[0] = 0.0  # brightness
    return np.packbits(low > np.median(low)).tobytes()
