"""Columns beside the truth: of tables, of `metadata.csv`, of COCO's images."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from transferflow.data.files.fence import build_fence
from transferflow.data.formats.columns import load_columns
from transferflow.errors import DataError

KEY = "evaluation.slices"


def draw(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(root / name)


@pytest.fixture
def read(data_section):
    def run(root, *names, **fields):
        data = data_section(root=str(root), **fields)
        return load_columns(data, build_fence(str(root), ()), names, KEY)

    return run


def test_a_table_has_its_columns_whatever_the_paths_look_like(tmp_path, read):
    draw(tmp_path, "a/1.png", "2.png", "3.png")
    rows = ["path,label,site,age", "a\\1.png,x,Nord ,40", f"{tmp_path}/2.png,y,,7.5", "gone.png,x,Nord,1"]
    (tmp_path / "a.csv").write_text("\n".join(rows))
    found = read(tmp_path, "site", "age", format="csv", file="a.csv")
    assert found == {"site": {"a/1.png": "Nord"}, "age": {"a/1.png": "40", "2.png": "7.5"}}


def test_parquet_says_numbers_as_text(tmp_path, read):
    draw(tmp_path, "1.png")
    table = pa.table({"path": ["1.png"], "label": ["x"], "age": [40.0]})
    pq.write_table(table, tmp_path / "a.parquet")
    assert read(tmp_path, "age", format="parquet", file="a.parquet") == {"age": {"1.png": "40"}}


def test_a_table_beside_the_images_serves_the_other_formats(tmp_path, read):
    draw(tmp_path, "cat/1.png", "dog/2.png")
    (tmp_path / "metadata.csv").write_text("file_name,site\n./cat/1.png,A\ndog\\2.png,B\n")
    assert read(tmp_path, "site", format="image_folder") == {"site": {"cat/1.png": "A", "dog/2.png": "B"}}


def test_coco_has_the_entries_of_its_images(tmp_path, read):
    draw(tmp_path, "images/1.png", "images/2.png")
    images = [
        {"id": 1, "file_name": "1.png", "scanner": "S1"},
        {"id": 2, "file_name": "2.png", "scanner": None},
    ]
    whole = {"images": images, "annotations": [], "categories": [{"id": 1, "name": "cat"}]}
    (tmp_path / "a.json").write_text(json.dumps(whole))
    fields = {"format": "coco", "annotations": "a.json", "images": "images"}
    assert read(tmp_path, "scanner", **fields) == {"scanner": {"images/1.png": "S1"}}
    with pytest.raises(DataError) as raised:
        read(tmp_path, "scaner", **fields)
    assert "did you mean `scanner`?" in str(raised.value)


def test_what_is_not_there_is_named_with_what_is(tmp_path, read):
    draw(tmp_path, "cat/1.png")
    with pytest.raises(DataError) as raised:
        read(tmp_path, "site", format="image_folder")
    assert "put metadata.csv there" in str(raised.value)
    (tmp_path / "metadata.csv").write_text("path,site\ncat/1.png,A\n")
    with pytest.raises(DataError) as raised:
        read(tmp_path, "ward", format="image_folder")
    (problem,) = raised.value.problems
    assert (problem.where, problem.found) == (KEY, "metadata.csv with path, site")
