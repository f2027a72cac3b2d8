import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco

from transferflow.errors import EvaluationError
from transferflow.tasks.rendering.mask_files import encode_runs, picture_name, read_mask, write_mask


@settings(max_examples=100, deadline=None)
@given(arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12))))
def test_runs_are_what_pycocotools_reads(chosen):
    runs = encode_runs(chosen)
    assert sum(runs["counts"]) == chosen.size
    compressed = coco.frPyObjects(runs, *chosen.shape)
    assert (coco.decode(compressed) == chosen).all()


@pytest.mark.parametrize("name", ["a.png", "../../evil", "a/b/../c", "ü\n", "x" * 5000, "\U00020bb7" * 200])
def test_a_mask_comes_back_whatever_its_image_is_called(name, tmp_path):
    mask = np.random.default_rng(0).integers(0, 256, (7, 5)).astype(np.uint8)
    file = write_mask(tmp_path / "masks", name, mask)
    assert (tmp_path / "masks" / file).parent == tmp_path / "masks"
    assert (read_mask(tmp_path / "masks", file) == mask).all()
    assert [p.name for p in tmp_path.iterdir()] == ["masks"]


def test_a_missing_or_damaged_mask_is_an_error_with_its_place(tmp_path):
    (tmp_path / "bad.png").write_bytes(b"not an image")
    for name in ("none.png", "bad.png", "../bad.png"):
        with pytest.raises(EvaluationError, match="mask can't be read"):
            read_mask(tmp_path, name)


@pytest.mark.parametrize("length", [1, 50, 51, 5000])
def test_fifty_letters_of_a_name_are_kept(length):
    image = "x" * length
    mark = hashlib.sha256(image.encode()).hexdigest()[:8]
    assert picture_name(image, "mask") == f"{'x' * min(length, 50)}-{mark}-mask.png"
