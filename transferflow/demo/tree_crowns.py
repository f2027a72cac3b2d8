"""`tree-crowns`: aerial photos of the US National Ecological Observatory Network with a box per tree."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

from transferflow.data.files.images import open_image
from transferflow.data.formats.xml import parse_xml
from transferflow.data.records import SplitName
from transferflow.demo.packages import PackageFiles
from transferflow.demo.tiles import CocoWriter, Edges, cover

_FOLDER = "deepforest/data"
_PHOTOS: dict[str, SplitName] = {
    "2019_YELL_2_528000_4978000_image_crop2": "train",
    "SOAP_061": "train",
    "OSBS_029": "val",
    "2019_YELL_2_541000_4977000_image_crop": "test",
}
"""Whole photos, so that no tree and no patch of ground is in two splits."""
_SHA256 = {
    "2019_YELL_2_528000_4978000_image_crop2.png": (
        "a9bdb0f4447fdd899d22f567e0e20ba8320c5413b2ad0cd0ac8d9f3b6e0f9767"
    ),
    "2019_YELL_2_528000_4978000_image_crop2.xml": (
        "bd431af6a5086d721eb731b22f5ea28cd8a8eab06883efc1c665391acbc68e11"
    ),
    "2019_YELL_2_541000_4977000_image_crop.png": (
        "178e58a23cc2642226a364a30f71bd9258ddc1b012c826f12250914a90c7a131"
    ),
    "2019_YELL_2_541000_4977000_image_crop.xml": (
        "cefe4b96888bacbf8af1674f000082e549aa707aa6590d545effb23e43f26631"
    ),
    "OSBS_029.png": "d9477c6a00e4902c7bee487d4c5582c3b8b9a2f77f3908a29628b816b291e6ee",
    "OSBS_029.xml": "1f68c4011d7b351c29ca755072e77f3d16e6fd1f995bd05a9dd4eb952b55373c",
    "SOAP_061.png": "256508f1a62149bec4a80879077a865caf50e8cace095e6564c76befa480d424",
    "SOAP_061.xml": "4833280af75fd9c47965a93e38945282835e9e725cac412bdb9469d63480947c",
}
PACKAGE = PackageFiles("deepforest", "2.1.0", {f"{_FOLDER}/{name}": sha for name, sha in _SHA256.items()})
CLASSES = ("tree",)
_SIDE = 256
_MIN_VISIBLE = 0.3


def write_tree_crowns(files: Mapping[str, bytes], folder: Path) -> None:
    """Write tiles of 256 pixels and a COCO file per split.

    Tiles of one photo overlap a little where it is no multiple of 256 pixels. A crown that is cut belongs
    to each tile that shows 30 % of its box. Living and dead trees are one class.
    """
    writers = {split: CocoWriter(CLASSES) for split in dict.fromkeys(_PHOTOS.values())}
    (folder / "images").mkdir()
    for photo, split in _PHOTOS.items():
        boxes = _boxes(files[f"{_FOLDER}/{photo}.xml"])
        with open_image(io.BytesIO(files[f"{_FOLDER}/{photo}.png"])) as opened:
            picture = opened.convert("RGB")
        for tile in cover(picture.width, picture.height, _SIDE):
            name = f"{photo}_{tile.left:04d}_{tile.top:04d}.png"
            corner = (tile.left, tile.top, tile.left + _SIDE, tile.top + _SIDE)
            picture.crop(corner).save(folder / "images" / name)
            writers[split].add_image(name, _SIDE, photo)
            for box in boxes:
                part = tile.cut_box(box, _MIN_VISIBLE)
                if part is not None:
                    writers[split].add_box(part)
    for split, writer in writers.items():
        writer.write(folder / f"{split}.json")


def _boxes(xml: bytes) -> list[Edges]:
    found = []
    for item in parse_xml(xml).find_all("object"):
        box = item.find("bndbox")
        if box is not None:
            x_min, y_min, x_max, y_max = (float(box.value(k)) for k in ("xmin", "ymin", "xmax", "ymax"))
            found.append((x_min, y_min, x_max, y_max))
    return found
