"""Masks as COCO, held against pycocotools."""

import numpy as np
import pyarrow as pa
from pycocotools import mask as judge

from transferflow.tasks.base import ImagePredictions
from transferflow.tasks.output.masks import PlacedMasks
from transferflow.tasks.rendering.mask_files import write_mask


def test_annotations_are_those_of_coco(tmp_path):
    values = np.zeros((6, 8), np.uint8)
    values[1:4, 2:7] = 2
    rows = [{"id": name, "mask": write_mask(tmp_path, name, values)} for name in ("a.png", "b.png")]
    sizes = {"a.png": (8, 6), "b.png": (8, 6)}
    found = ImagePredictions(pa.Table.from_pylist(rows), sizes, ("bg", "x", "y"), tmp_path)
    notes = list(PlacedMasks().annotations(found))
    assert [(note["image_id"], note["category_id"]) for note in notes] == [(1, 1), (1, 3), (2, 1), (2, 3)]
    assert notes[1]["bbox"] == [2, 1, 5, 3]
    assert notes[1]["area"] == 15
    drawn = judge.decode(judge.frPyObjects(notes[1]["segmentation"], 6, 8))
    assert np.array_equal(drawn, values == 2)
