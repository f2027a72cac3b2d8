"""What a TIFF asks for beyond its pixels: directories that go round in circles, strips that never end."""

from __future__ import annotations

import lzma
import struct
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from transferflow.data.files.pixels import UnsuitableImageError
from transferflow.data.files.room import TooLargeError
from transferflow.limits import MAX_IMAGE_BYTES, MAX_TIFF_PAGES

if TYPE_CHECKING:
    import tifffile

_DEFLATE, _LZMA = (8, 32946), 34925
_MOST_FROM_A_BYTE = 10_000
"""Bytes that one compressed byte may become: about 1,000 with deflate, 7,000 with LZMA."""
_CHUNK = 1 << 20


def check_directories(path: Path) -> None:
    """Follow the chain of image directories, which tifffile would follow for ever.

    Raises:
        UnsuitableImageError: If there are too many of them, or they lead back to one of themselves.
    """
    with path.open("rb") as stream:
        big, order = _form(stream.read(4))
        at = _number(stream, 8 if big else 4, "Q" if big else "I", order)
        seen: set[int] = set()
        while at:
            if at in seen:
                raise UnsuitableImageError("its image directories lead in a circle")
            if len(seen) == MAX_TIFF_PAGES:
                raise UnsuitableImageError(f"it holds more than {MAX_TIFF_PAGES:,} images (pages)")
            seen.add(at)
            entries = _number(stream, at, "Q" if big else "H", order)
            end = at + 8 + entries * 20 if big else at + 2 + entries * 12
            at = _number(stream, end, "Q" if big else "I", order)


def _form(head: bytes) -> tuple[bool, str]:
    """Whether it is a BigTIFF, and its order of bytes."""
    return 43 in head[2:4], "<" if head[:2] == b"II" else ">"


def _number(stream: BinaryIO, at: int, kind: str, order: str) -> int:
    """Number at an offset; 0, the end of the chain, where the file is cut off before it."""
    if at >= 1 << 63:
        return 0
    stream.seek(at)
    data = stream.read(struct.calcsize(f"{order}{kind}"))
    if len(data) < struct.calcsize(f"{order}{kind}"):
        return 0
    number: int = struct.unpack(f"{order}{kind}", data)[0]
    return number


def check_segments(page: tifffile.TiffPage | tifffile.TiffFrame, stream: tifffile.FileHandle) -> None:
    """Try the compressed strips that might become more than an image may take; tifffile sets no limit.

    Raises:
        TooLargeError: If one does. A damaged one raises anything.
    """
    for offset, length in zip(page.dataoffsets, page.databytecounts, strict=False):
        if length * _MOST_FROM_A_BYTE <= MAX_IMAGE_BYTES:
            continue
        stream.seek(offset)
        if _inflated_size(stream.read(length), int(page.compression)) > MAX_IMAGE_BYTES:
            raise TooLargeError(f"one of its strips takes more than {MAX_IMAGE_BYTES >> 20} MiB")


def _inflated_size(data: bytes, compression: int) -> int:
    """Bytes that come out, as far as they stay below the limit."""
    size = 0
    if compression in _DEFLATE:
        inflater = zlib.decompressobj()
        while data and not inflater.eof and size <= MAX_IMAGE_BYTES:
            size += len(inflater.decompress(data, _CHUNK))
            data = inflater.unconsumed_tail
    elif compression == _LZMA:
        decompressor = lzma.LZMADecompressor()
        while not decompressor.eof and size <= MAX_IMAGE_BYTES and (data or not decompressor.needs_input):
            size += len(decompressor.decompress(data, _CHUNK))
            data = b""
    return size
