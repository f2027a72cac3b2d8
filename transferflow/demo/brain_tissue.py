"""`brain-tissue`: slices of the MNI152 average T1 image with gray and white matter, as nilearn carries it."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from transferflow.data.files.geometry import Pixels
from transferflow.data.records import SplitName
from transferflow.demo.masks import save_index_mask
from transferflow.demo.packages import PackageFiles
from transferflow.errors import DataError

_NAME = "nilearn/datasets/data/mni_icbm152_{}_tal_nlin_sym_09a_converted.nii.gz"
T1, GRAY, WHITE = (_NAME.format(kind) for kind in ("t1", "gm", "wm"))
PACKAGE = PackageFiles(
    "nilearn",
    "0.14.1",
    {
        T1: "421a10e872fd6cadae7f61d358dffbcc1795a497d61ee76c5dda2503e1a1e9e6",
        GRAY: "97a5ca69bd24db37a9cb7b32525e1733a209af904129bf1cd36da06d24243bed",
        WHITE: "382d92812de4744f9c86c7a0e4f680dc317a0a50e4da1f0153618a6798c7b7db",
    },
)
CLASSES = ("background", "gray_matter", "white_matter")
_SLICES: dict[SplitName, tuple[range, ...]] = {
    "train": (range(20, 70), range(122, 148)),
    "val": (range(102, 117),),
    "test": (range(75, 97),),
}
"""Heights in mm. Neighbours look alike: at least five slices are left out between two splits."""
_UINT8 = 2


def write_brain_tissue(files: Mapping[str, bytes], folder: Path) -> None:
    """Write axial slices as gray PNGs, front up, and masks of the likeliest tissue (`mask_folder`)."""
    t1, gray, white = (read_nifti(files[name]) for name in (T1, GRAY, WHITE))
    rest = 255 - np.minimum(255, gray.astype(np.int32) + white)
    tissue = np.argmax(np.stack([rest, gray, white]), axis=0).astype(np.uint8)
    for split, blocks in _SLICES.items():
        for kind in ("images", "masks"):
            (folder / kind / split).mkdir(parents=True)
        for height in (h for block in blocks for h in block):
            name = f"{split}/z{height:03d}.png"
            Image.fromarray(np.rot90(t1[:, :, height]).copy()).save(folder / "images" / name)
            save_index_mask(np.rot90(tissue[:, :, height]).copy(), folder / "masks" / name)


def read_nifti(content: bytes) -> Pixels:
    """Read a gzipped NIfTI-1 volume of bytes, little-endian and unscaled: uint8, x * y * z.

    Raises:
        DataError: If it is any other kind of file.
    """
    raw = gzip.decompress(content)
    dimensions = struct.unpack("<8h", raw[40:56])
    kind, bits = struct.unpack("<hh", raw[70:74])
    offset, slope, intercept = struct.unpack("<fff", raw[108:120])
    as_it_is = slope in (0, 1) and intercept == 0
    if raw[344:347] != b"n+1" or (dimensions[0], kind, bits) != (3, _UINT8, 8) or not as_it_is:
        raise DataError("not an unscaled NIfTI-1 volume of bytes", found=repr(raw[344:348]))
    return np.frombuffer(raw, np.uint8, offset=int(offset)).reshape(dimensions[1:4], order="F")
