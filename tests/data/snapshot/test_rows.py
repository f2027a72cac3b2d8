import pickle
from dataclasses import FrozenInstanceError

import numpy as np
import pyarrow as pa
import pytest

from transferflow.data.records import Box, Record
from transferflow.data.snapshot.rows import COLUMNS, Row, Rows
from transferflow.store.mapped import MappedTable

RECORDS = [
    Record("a.png", "a.png", labels=("cat", "dog"), group="patient 1", split="train", source="labels.csv:2"),
    Record("b.png", "b.png", split="val"),
    Record(
        "c/é.png",
        "c/é.png",
        boxes=(Box(1.5, 2, 30, 40.25, "cat", area=12.5), Box(0, 0, 640, 480, "dog", crowd=True)),
        split="train",
    ),
    Record("d.png", "d.png", mask="masks.json#7", group="patient 2", split="test"),
    Record("e.png", "e.png", labels=("-1.5",), mask="e.png", split="train"),
]
MASKS = [None, None, None, "d" * 64, "e" * 64]
TURNED = [1, 6, 1, 8, 3]


@pytest.fixture
def rows(rows_of):
    return rows_of(RECORDS, mask_sha256=MASKS, orientation=TURNED)


@pytest.fixture
def expected(tmp_path) -> list[Row]:
    """The rows as the records say them."""
    return [
        Row(
            id=record.id,
            path=record.path,
            labels=record.labels,
            boxes=record.boxes,
            mask=record.mask,
            group=record.group,
            split=record.split,
            source=record.source,
            sha256=f"{place:064x}",
            width=640,
            height=480,
            orientation=TURNED[place],
            mask_sha256=MASKS[place],
            root=tmp_path / "root",
            links=(tmp_path,),
        )
        for place, record in enumerate(RECORDS)
    ]


def test_every_kind_of_truth_is_there(rows, expected):
    assert list(rows) == expected
    assert [rows[place] for place in range(5)] == expected
    assert all(hash(row) == hash(other) for row, other in zip(rows, expected, strict=True))
    assert rows[4].number == -1.5


def test_a_table_may_have_more_columns(rows, expected, tmp_path):
    columns = {name: rows.column(name) for name in COLUMNS}
    table = pa.table(columns | {"other": [0] * 5})
    more = Rows(MappedTable(table), tmp_path / "root", (tmp_path,))
    assert list(more) == [more[place] for place in range(5)] == expected


def test_it_is_a_sequence(rows, expected):
    assert len(rows) == 5
    assert rows[-1] == rows[np.int64(4)] == expected[4]
    assert expected[2] in rows
    assert rows.index(expected[3]) == 3
    assert list(reversed(rows)) == expected[::-1]
    for place in (5, -6):
        with pytest.raises(IndexError):
            rows[place]


@pytest.mark.parametrize(
    "part",
    [
        slice(None),
        slice(1, 3),
        slice(-2, None),
        slice(2, 99),
        slice(3, 1),
        slice(None, None, 2),
        slice(4, 0, -3),
    ],
    ids=str,
)
def test_parts_are_those_of_a_list(rows, expected, part):
    found = rows[part]
    assert list(found) == expected[part]
    assert [found[place] for place in range(len(found))] == expected[part]
    assert [found.id(place) for place in range(len(found))] == [row.id for row in expected[part]]
    assert list(pickle.loads(pickle.dumps(found))) == expected[part]


def test_single_values_are_those_of_the_rows(rows, expected):
    assert [rows.id(place) for place in range(5)] == rows.column("id") == [row.id for row in expected]
    plain = [f"{place:064x}" for place in range(3)]
    masked = [f"{3:064x}:{'d' * 64}", f"{4:064x}:{'e' * 64}"]
    assert [rows.content(place) for place in range(5)] == rows.contents() == plain + masked
    assert rows.sizes() == [(480, 640)] * 5
    assert rows.box_counts() == [0, 0, 2, 0, 0]
    assert rows.column("labels") == [["cat", "dog"], [], [], [], ["-1.5"]]
    assert rows[4:].numbers() == [-1.5]


def test_nothing_can_be_written(rows):
    with pytest.raises(FrozenInstanceError):
        rows[0].id = "other"
    with pytest.raises(AttributeError):
        rows.other = 1
    with pytest.raises(TypeError):
        rows[0] = rows[1]


def test_more_rows_than_are_made_at_a_time(rows_of, monkeypatch):
    monkeypatch.setattr("transferflow.data.snapshot.rows._CHUNK", 7)
    rows = rows_of([Record(f"{place:02}", f"{place:02}") for place in range(50)])
    assert [row.id for row in rows] == [f"{place:02}" for place in range(50)]


def test_another_process_is_sent_a_place_and_no_rows(rows_of):
    few, many = (
        rows_of([Record(name, name, labels=("cat",)) for name in map(str, range(count))])
        for count in (3, 20_000)
    )
    sent = pickle.dumps(many)
    assert len(sent) == len(pickle.dumps(few))
    before = pa.total_allocated_bytes()
    copy = pickle.loads(sent)
    assert pa.total_allocated_bytes() - before < 10_000  # what is mapped is not allocated
    assert copy[19_999] == many[19_999]
    assert list(copy) == list(many)
    assert list(pickle.loads(pickle.dumps(copy[5:8]))) == list(many[5:8])
