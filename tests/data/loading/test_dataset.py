import hashlib
import json
import pickle
from collections.abc import Callable

import numpy as np
import pytest
from pydantic import TypeAdapter

from transferflow.data.formats.mask_coding import index_coding
from transferflow.data.formats.masks import MaskFiles
from transferflow.data.loading.dataset import ImageDataset
from transferflow.data.records import Box, Record
from transferflow.data.snapshot.rows import Rows
from transferflow.data.transforms.evaluation import build_eval_transform
from transferflow.data.transforms.training import build_train_transform
from transferflow.errors import DataError
from transferflow.spec.sections.augmentation import Augmentation

SHA, MASK = f"{1:064x}", "d" * 64
BOXES = (Box(1.5, 2, 30, 40.25, "b", area=12.5), Box(0, 0, 640, 480, "a", crowd=True))


@pytest.fixture
def make(rows_of, data_section, truth_of, tmp_path) -> Callable[..., ImageDataset]:
    """A data set of records; it decodes nothing."""

    def build(records, *, boxes=False, varied=False, **facts):
        section = data_section(format="csv", root=str(tmp_path), file="labels.csv", image_size=16)
        transform = build_eval_transform(section, "stretch", mean=(0.5,) * 3, std=(0.5,) * 3)
        if varied:
            augmentation = TypeAdapter(Augmentation).validate_python({"preset": "similar_domain"})
            moving = truth_of("detection" if boxes else "classification").moving
            transform = build_train_transform(augmentation, transform, moving)
        masks = MaskFiles(tmp_path, ("a", "b"), index_coding(("a", "b"), 255)) if facts else None
        rows = rows_of(records, **facts)
        return ImageDataset(rows, ("a", "b"), transform, boxes=boxes, masks=masks, seed=3)

    return build


def sha(value) -> str:
    return hashlib.sha256(json.dumps(value, separators=(",", ":")).encode()).hexdigest()


def test_images_are_known_by_the_keys_of_all_versions(make):
    """What a home has kept of a version is found by the next one."""
    records = [Record(name, name, labels=("a",)) for name in ("x", "y")]
    assert make(records).content_key((5, 1)) == SHA
    assert make(records, mask_sha256=[None, MASK]).content_key((5, 1)) == f"{SHA}:{MASK}"
    assert make(records, varied=True).content_key((5, 1)) == f"{SHA}:{sha([5, 'y'])}"
    drawn = [records[0], Record("y", "y", boxes=BOXES)]
    corners = [[1.5, 2.0, 30.0, 40.25, "b", False], [0.0, 0.0, 640.0, 480.0, "a", True]]
    assert make(drawn, boxes=True).content_key((5, 1)) == f"{SHA}:{sha([corners, 640, 480])}"
    assert make(drawn, boxes=True).content_key((5, 0)) == f"{0:064x}:{sha([[], 640, 480])}"


def test_targets_of_all_images(make, monkeypatch):
    monkeypatch.delattr(Rows, "__iter__")  # no row is made whole for its labels
    monkeypatch.delattr(Rows, "_made")
    several = make([Record("x", "x", labels=("b", "a")), Record("y", "y"), Record("z", "z", labels=("b",))])
    np.testing.assert_array_equal(several.class_sets(), [[1, 1], [0, 0], [0, 1]])
    one = make([Record("x", "x", labels=("b",)), Record("y", "y", labels=("a",))])
    np.testing.assert_array_equal(one.class_numbers(), [1, 0])
    numbers = make([Record("x", "x", labels=("-2.5",)), Record("y", "y", labels=("1e3",))])
    np.testing.assert_array_equal(numbers.numbers(), np.array([-2.5, 1000], np.float32))


@pytest.mark.parametrize("labels", [(), ("a", "b"), ("c",)])
def test_an_image_without_its_one_class_is_named(make, labels):
    records = [Record("x", "x", labels=("a",)), Record("y", "y", labels=labels, source="labels.csv:3")]
    with pytest.raises(DataError) as error:
        make(records).class_numbers()
    assert error.value.problems[0].where == "labels.csv:3"


def test_a_loader_process_is_sent_no_rows(make):
    """One that starts by spawn or forkserver gets what is pickled."""
    sizes = []
    for count in (3, 5000):
        records = [Record(f"{n:04}", f"{n:04}", boxes=BOXES, group="p") for n in range(count)]
        images = make(records, boxes=True, varied=True)
        sent = pickle.dumps(images)
        sizes.append(len(sent))
        copy = pickle.loads(sent)
        assert copy.rows[count - 1] == images.rows[count - 1]
        assert copy.content_key((1, 2)) == images.content_key((1, 2))
    assert sizes[0] == sizes[1]
