"""`nuclei`: one fluorescence microscopy image with 125 cell nuclei, as stardist carries it."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from transferflow.data.records import SplitName
from transferflow.demo.masks import save_index_mask
from transferflow.demo.packages import PackageFiles
from transferflow.demo.tiles import CocoWriter, Tile

IMAGE, MASK = "stardist/data/images/img2d.tif", "stardist/data/images/mask2d.tif"
PACKAGE = PackageFiles(
    "stardist",
    "0.9.2",
    {
        IMAGE: "f9ccc1571b92c861ff87e28463068b43f61bd47357ed0503f711e5cd1eb97750",
        MASK: "59ad5e820b7982ca9d13e946fa6e7f64e2714899e00a2ae6c69aa79aad53d46f",
    },
    platform="311-manylinux_2_28_x86_64",
)
CLASSES = ("background", "nucleus")
_SIDE = 128
_STRIPS: dict[SplitName, tuple[range, int]] = {
    "train": (range(0, 256), 64),
    "val": (range(256, 384), 128),
    "test": (range(384, 512), 128),
}
"""Columns of each split, and the step between its tiles: only training tiles overlap."""
_MIN_PIXELS = 20


def write_nuclei(files: Mapping[str, bytes], folder: Path) -> None:
    """Write 16-bit tiles of 128 pixels with masks (`mask_folder`), and boxes (`coco`) over the same tiles.

    The values are the microscope's own, 0 to 235 of 65,535: `data.intensity` has to stretch them. The
    splits are strips of the image, left to right.
    """
    image, instances = (tifffile.imread(io.BytesIO(files[name])) for name in (IMAGE, MASK))
    for split, (columns, step) in _STRIPS.items():
        for kind in ("images", "masks"):
            (folder / kind / split).mkdir(parents=True)
        writer = CocoWriter(CLASSES[1:])
        for top in range(0, image.shape[0] - _SIDE + 1, step):
            for left in range(columns.start, columns.stop - _SIDE + 1, step):
                tile = Tile(left, top, _SIDE)
                name = f"{split}/{top:03d}_{left:03d}.png"
                Image.fromarray(_part(image, tile)).save(folder / "images" / name)
                cells = _part(instances, tile)
                save_index_mask((cells > 0).astype(np.uint8), folder / "masks" / name)
                writer.add_image(name, _SIDE, "img2d")
                _add_cells(writer, cells)
        writer.write(folder / "boxes" / f"{split}.json")


def _part(array: NDArray[np.uint16], tile: Tile) -> NDArray[np.uint16]:
    return np.ascontiguousarray(array[tile.top : tile.top + tile.side, tile.left : tile.left + tile.side])


def _add_cells(writer: CocoWriter, cells: NDArray[np.uint16]) -> None:
    for number in np.unique(cells[cells > 0]):
        cell = cells == number
        if cell.sum() < _MIN_PIXELS:
            continue  # a sliver of a nucleus in the next tile
        rows, columns = np.flatnonzero(cell.any(1)), np.flatnonzero(cell.any(0))
        box = (float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1))
        writer.add_box(box, _run_lengths(cell))


def _run_lengths(cell: NDArray[np.bool_]) -> list[int]:
    """COCO's uncompressed run lengths: column by column, zeros first."""
    flat = np.concatenate([[False], cell.T.ravel()])
    changes = np.flatnonzero(np.diff(flat))
    return [int(run) for run in np.diff(changes, prepend=0, append=cell.size)]
