"""Memory that is kept for the next batch, instead of given back to the system and asked for again."""

from __future__ import annotations

import ctypes
import functools
import os
import sys

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
"""Numbers of `mallopt` in glibc's malloc.h."""
_LARGEST = 2**31 - 1
_MORE_AT_ONCE = 64 << 20
_SAID = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_MAX_", "MALLOC_MMAP_THRESHOLD_")


@functools.cache
def keep_freed_memory() -> bool:
    """Let this process keep what its tensors gave back; on Linux with glibc, elsewhere nothing happens.

    glibc maps every large tensor anew, and the kernel fills its pages with zeros: on two cores that was a
    fifth of the CPU time of a forward pass. Each step asks for the sizes of the one before, so that what is
    kept is used at once; the most that a training holds stays what it was.

    Returns:
        Whether it does.
    """
    if sys.platform != "linux" or any(name in os.environ for name in _SAID):
        return False
    try:
        set_option = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    asked = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, _LARGEST), (_TOP_PAD, _MORE_AT_ONCE))
    return all(set_option(option, value) == 1 for option, value in asked)
