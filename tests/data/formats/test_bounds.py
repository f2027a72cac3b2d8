"""Small files that ask for much: each is refused, or costs what its size says."""

from __future__ import annotations

import json
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from pycocotools import mask as judge

from transferflow.data.files.boxes import Seen
from transferflow.data.formats import bounds, masks, xml
from transferflow.data.formats.coco_file import load_coco_file
from transferflow.data.formats.mask_coding import index_coding
from transferflow.data.formats.masks import MaskFiles
from transferflow.data.formats.rle import segmentation_problem
from transferflow.data.formats.table_file import open_csv, open_parquet
from transferflow.data.formats.xml import XmlError, parse_xml
from transferflow.data.formats.yolo_names import load_yolo_names
from transferflow.errors import DataError
from transferflow.limits import (
    MAX_BAD_ENTRIES,
    MAX_CELL,
    MAX_CLASSES,
    MAX_COLUMNS,
    MAX_LABEL,
    MAX_OUTLINE,
)

MB = 1 << 20


@contextmanager
def within(seconds: float, megabytes: float) -> Iterator[None]:
    tracemalloc.start()
    start = time.process_time()
    yield
    taken = time.process_time() - start
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert taken < seconds
    assert most < megabytes * MB


def image(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((16, 24, 3), np.uint8)).save(path)
    return path


def test_a_table_with_a_column_per_image(tmp_path: Path) -> None:
    file = tmp_path / "labels.csv"
    file.write_text(",".join(f"c{n}" for n in range(300_000)) + "\n" + ",".join("1" for _ in range(300_000)))
    with within(10, 200), pytest.raises(DataError, match=f"at most {MAX_COLUMNS:,}"):
        open_csv(file)


def test_a_table_of_one_endless_line(tmp_path: Path) -> None:
    file = tmp_path / "labels.csv"
    file.write_text('path,label\n"' + "x" * 20_000_000)
    with within(10, 40), pytest.raises(DataError, match="field larger than field limit"):
        list(open_csv(file).read(["path"]))


def test_a_table_of_rows_that_lead_nowhere(
    tmp_path: Path, list_data: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounds, "MAX_BAD_ENTRIES", 1000)
    rows = "".join(f"no{n}.png,a\n" for n in range(1010))
    (tmp_path / "labels.csv").write_text("path,label\n" + rows)
    with pytest.raises(DataError, match="the right file"):
        list_data(tmp_path, format="csv", file="labels.csv")


def test_a_metadata_table_with_a_short_row(tmp_path: Path, list_data: Callable) -> None:
    image(tmp_path / "a" / "1.png")
    (tmp_path / "metadata.csv").write_text("group,path\np1,a/1.png\np2\n")
    assert [record.group for record in list_data(tmp_path, format="image_folder").records] == ["p1"]


def test_parquet_of_text_that_is_none(tmp_path: Path) -> None:
    texts = pa.Array.from_buffers(
        pa.string(), 2, [None, pa.py_buffer(np.array([0, 2, 4], np.int32)), pa.py_buffer(b"\xff\xfe\xff\xfe")]
    )
    pq.write_table(pa.table({"path": texts, "label": ["a", "b"]}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match="can't be read as Parquet"):
        list(open_parquet(tmp_path / "a.parquet", "|").read(["path", "label"]))


def test_parquet_of_one_long_text_in_every_row(tmp_path: Path) -> None:
    words = pa.DictionaryArray.from_arrays(np.zeros(100_000, np.int32), ["x" * 1_000_000])
    pq.write_table(pa.table({"path": words, "label": words}), tmp_path / "a.parquet", compression="zstd")
    assert (tmp_path / "a.parquet").stat().st_size < MB
    with within(10, 200), pytest.raises(DataError, match=f"allowed are {MAX_CELL:,}"):
        list(open_parquet(tmp_path / "a.parquet", "|").read(["path", "label"]))


def test_parquet_columns_that_nobody_wants_are_not_read(tmp_path: Path) -> None:
    table = pa.table({"path": ["a"], "label": pa.array(["b"]).dictionary_encode(), "image": [b"x"]})
    pq.write_table(table, tmp_path / "a.parquet")
    (line,) = open_parquet(tmp_path / "a.parquet", "|").read(["label", "path", "none"])
    assert line.cells == {"path": "a", "label": "b"}


def test_labels_as_long_as_a_page(tmp_path: Path, list_data: Callable) -> None:
    image(tmp_path / "a.png")
    (tmp_path / "labels.csv").write_text(f"path,label\na.png,{'x' * (MAX_LABEL + 1)}\n")
    with pytest.raises(DataError, match="too long to be the name of a class"):
        list_data(tmp_path, format="csv", file="labels.csv")
    coco = {"images": [{"id": 1, "file_name": "a.png"}], "categories": [{"id": 1, "name": "x" * MB}]}
    coco["annotations"] = [
        {"id": n, "image_id": 1, "category_id": 1, "bbox": [0, 0, 1, 1]} for n in range(1000)
    ]
    (tmp_path / "a.json").write_text(json.dumps(coco))
    with within(10, 100), pytest.raises(DataError, match="too long to be the name of a class"):
        list_data(tmp_path, "detection", format="coco", annotations="a.json")


def test_more_classes_than_there_are(tmp_path: Path, list_data: Callable) -> None:
    image(tmp_path / "a.png")
    categories = [{"id": number, "name": f"c{number}"} for number in range(MAX_CLASSES + 1)]
    document = {"images": [{"id": 1, "file_name": "a.png"}], "annotations": [], "categories": categories}
    (tmp_path / "a.json").write_text(json.dumps(document))
    with pytest.raises(DataError, match="too many classes"):
        list_data(tmp_path, "detection", format="coco", annotations="a.json")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<a>" * 60, "nest too deep"),
        (b"<a>" + b"<b/>" * 1001 + b"</a>", "more than 1,000 elements"),
        (b'<!DOCTYPE a [<!ENTITY b "cc">]><a>&b;</a>', "DOCTYPE"),
        (b"<a>\xff\xfe</a>", ""),
        (b"\x00", ""),
    ],
)
def test_xml_that_asks_for_more_is_refused(
    content: bytes, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(xml, "MAX_XML_ELEMENTS", 1000)
    with pytest.raises(XmlError, match=message):
        parse_xml(content)


def test_long_xml_text_in_many_pieces_takes_no_longer() -> None:
    content = b"<a><name>" + b"x&amp;" * 1_000_000 + b"</name></a>"
    start = time.process_time()
    assert len(parse_xml(content).value("name")) == 2_000_000
    assert time.process_time() - start < 10


def test_coco_entries_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(
        '{"images": [' + ",".join(["{}"] * (MAX_BAD_ENTRIES + 2)) + '], "annotations": [], "categories": []}'
    )
    with pytest.raises(DataError, match="the right file"):
        load_coco_file(tmp_path / "a.json", "a.json")


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"images": ' + "[" * 100_000,
        '{"images": [], "annotations": [], "categories": ' + "9" * 5_000 + "}",
        '{"a": 1e999, "images": NaN}',
    ],
)
def test_json_that_is_deep_or_large_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(DataError):
        load_coco_file(tmp_path / "a.json", "a.json")


HUGE = 10**400
SEGMENTATIONS = {
    "a number that no float holds": [[HUGE, 0, 1, 1, 2, 2]],
    "an outline to and fro": [[0, 0, 9_000, 9_000] * 1000],
    "runs that no image has": {"size": [10_000, 10_000], "counts": [HUGE, 1]},
    "a size that is none": {"size": [HUGE, 1], "counts": "0"},
    "a size of another kind": {"size": "x" * 100, "counts": [1]},
}


@pytest.mark.parametrize("name", SEGMENTATIONS)
def test_segmentations_that_ask_for_much_are_refused(name: str) -> None:
    assert segmentation_problem(SEGMENTATIONS[name], (10_000, 10_000))
    assert segmentation_problem(SEGMENTATIONS[name], (HUGE, HUGE))


def test_an_outline_of_a_real_object_is_far_from_the_limit() -> None:
    coast = [value for n in range(20_000) for value in (n % 5_000, (n * 7) % 13)]
    assert segmentation_problem([coast], (5_000, 5_000)) is None
    assert MAX_OUTLINE >= 2_000_000


def coco_masks(folder: Path, segmentations: list[object], size: tuple[int, int]) -> MaskFiles:
    width, height = size
    notes = [
        {"id": n, "image_id": 1, "category_id": 1 + n % 2, "segmentation": segmentation}
        for n, segmentation in enumerate(segmentations)
    ]
    document = {
        "images": [{"id": 1, "file_name": "a.png", "width": width, "height": height}],
        "categories": [{"id": 1, "name": "one"}, {"id": 2, "name": "two"}],
        "annotations": notes,
    }
    (folder / "a.json").write_text(json.dumps(document))
    classes = ("background", "one", "two")
    return MaskFiles(folder, classes, index_coding(classes, 255))


def test_many_objects_in_a_large_image_take_the_memory_of_one_image(tmp_path: Path) -> None:
    """All of them were drawn as images of their own: 100 times a megabyte."""
    boxes = [[[n, n, n + 9, n, n + 9, n + 9, n, n + 9]] for n in range(100)]
    files = coco_masks(tmp_path, boxes, (1_000, 1_000))
    with within(10, 30):
        drawn = files.read_raw("a.json#1")
    wanted = np.zeros((1_000, 1_000), np.int32)
    for number, polygon in enumerate(boxes):
        wanted[judge.decode(judge.merge(judge.frPyObjects(polygon, 1_000, 1_000))) == 1] = 1 + number % 2
    np.testing.assert_array_equal(drawn, wanted)
    indices = files.read("a.json#1", Seen(1_000, 1_000, 1))
    np.testing.assert_array_equal(indices, wanted)


def test_objects_that_cover_an_image_over_and_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masks, "MAX_DRAWN", 1_000_000)
    whole = {"size": [100, 100], "counts": [0, 10_000]}
    files = coco_masks(tmp_path, [whole] * 101, (100, 100))
    with pytest.raises(DataError, match="over and over"):
        files.read_raw("a.json#1")


@pytest.mark.parametrize(
    "text",
    ["[" * 50_000, "a: &a [" + "*a, " * 9 + "]", "names: " + "{a: " * 2_000, "\x00", "names: [\ud800]"],
)
def test_class_names_that_are_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "data.yaml").write_text(text, errors="surrogatepass")
    with within(10, 100), pytest.raises(DataError):
        load_yolo_names(tmp_path / "data.yaml", "data.yaml")
