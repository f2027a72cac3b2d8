from __future__ import annotations

import math

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from transferflow.errors import DataError


@pytest.fixture
def root(tmp_path, paint):
    for name in "abcdefgh":
        paint(tmp_path / "img" / f"{name}.png")
    return tmp_path


def test_labels_stay_text(root, list_data):
    (root / "labels.csv").write_text(
        "path,label,group\nimg/a.png,no,007\nimg/b.png,yes,7\nimg/c.png,NA,\nimg/d.png,001,x\nimg/e.png,1e3,x\n"
    )
    listing = list_data(root, format="csv", file="labels.csv")
    assert [r.labels[0] for r in listing.records] == ["no", "yes", "NA", "001", "1e3"]
    assert [r.group for r in listing.records] == ["007", "7", None, "x", "x"]
    assert listing.classes == ("001", "1e3", "NA", "no", "yes")
    assert listing.records[2].source == "labels.csv:4"


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_other_columns_delimiters_and_bom(root, list_data, delimiter):
    rows = [["bild", "art", "patient_id", "teil"], ["img\\a.png", '"x; y, z"', "p1", "Valid"]]
    text = "\r\n".join(delimiter.join(row) for row in rows)
    (root / "t.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    listing = list_data(
        root,
        format="csv",
        file="t.csv",
        columns={"path": "bild", "label": "art", "split": "teil"},
        split={"group_by": "patient_id"},
    )
    record = listing.records[0]
    assert (record.path, record.labels, record.group, record.split) == (
        "img/a.png",
        ("x; y, z",),
        "p1",
        "val",
    )


def test_each_bad_row_has_its_line(root, list_data):
    outside = root.parent / "outside.png"
    outside.write_bytes(b"x")
    (root / "img" / "link.png").symlink_to(outside)
    (root / "labels.csv").write_text(
        "path,label,split\n"
        "img/a.png,x,train\n"
        '"img/b.png","two\nlines",train\n'
        "img/missing.png,x,train\n"
        "../outside.png,x,train\n"
        "img/link.png,x,\n"
        "img/c.png,x,holdout\n"
        "img/d.png,,train\n"
        ",x,train\n"
        "img/./a.png,y,train\n"
        "img/e.png,x\n"
        "img,x,train\n"
        f"{outside},x,train\n"
        f"{root / 'img' / 'f.png'},x,test\n"
    )
    listing = list_data(root, format="csv", file="labels.csv")
    assert [(r.id, r.split) for r in listing.records] == [
        ("img/a.png", "train"),
        ("img/b.png", "train"),
        ("img/f.png", "test"),
    ]
    assert [(f.where, f.kind, f.severity) for f in listing.findings] == [
        ("labels.csv:5", "missing", "quarantine"),
        ("labels.csv:6", "outside_root", "error"),
        ("labels.csv:7", "outside_root", "error"),
        ("labels.csv:8", "unknown_split", "error"),
        ("labels.csv:9", "no_label", "quarantine"),
        ("labels.csv:10", "bad_row", "error"),
        ("labels.csv:11", "duplicate_id", "error"),
        ("labels.csv:12", "bad_row", "error"),
        ("labels.csv:13", "not_a_file", "quarantine"),
        ("labels.csv:14", "outside_root", "error"),
    ]


def test_multilabel(root, list_data):
    (root / "labels.csv").write_text("path,label\nimg/a.png,x| y |x\nimg/b.png,\nimg/c.png,z\n")
    listing = list_data(root, format="csv", file="labels.csv", multilabel=True)
    assert [r.labels for r in listing.records] == [("x", "y"), (), ("z",)]
    assert listing.classes == ("x", "y", "z")
    single = list_data(root, format="csv", file="labels.csv")
    assert single.records[0].labels == ("x| y |x",)


def test_parquet_is_read_like_csv(root, list_data):
    table = pa.table(
        {
            "path": ["img/a.png", "img/b.png", "img/c.png"],
            "label": [["x", "y"], [], None],
            "group": [1.0, 2.0, None],
        }
    )
    pq.write_table(table, root / "t.parquet")
    listing = list_data(root, format="parquet", file="t.parquet", multilabel=True)
    assert [(r.labels, r.group, r.source) for r in listing.records] == [
        (("x", "y"), "1", "t.parquet:2"),
        ((), "2", "t.parquet:3"),
        ((), None, "t.parquet:4"),
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no column|no rows"),
        (b"path,label\n", "no rows"),
        (b"path,wrong\nimg/a.png,x\n", "no column 'label'"),
        (b"path,wrong\nimg/a.png\nimg/b.png,x\n", "no column 'label'"),
        (b"\n\n", "no column"),
        (b"path,path\nimg/a.png,x\n", "two columns of the same name: 'path'"),
        (b"path,,,label\nimg/a.png,,,x\n", "several columns without a name"),
        (b"path,label\nimg/a.png,\xff\xfe\n", "not UTF-8"),
        ("path,label\nimg/a.png,x\n".encode("utf-16"), "not UTF-8"),
        ("path,label\nimg/a.png,x\n".encode("utf-16-le"), "UTF-16, as it seems"),
        (b'path,label\nimg/a.png,"x\n', "can't be read as CSV"),
    ],
)
def test_tables_that_are_none(root, list_data, content, message):
    (root / "labels.csv").write_bytes(content)
    with pytest.raises(DataError, match=message):
        list_data(root, format="csv", file="labels.csv")


@pytest.mark.parametrize("header", ["path,label,,", "path,label"])
def test_separators_that_a_spreadsheet_left_at_the_end(root, list_data, header):
    (root / "t.csv").write_text(f"{header}\nimg/a.png,x,,\nimg/b.png,,,\nimg/c.png,x,,y\nimg/d.png,x\n")
    listing = list_data(root, format="csv", file="t.csv")
    assert [record.path for record in listing.records] == ["img/a.png", "img/d.png"]
    assert [(f.kind, f.where) for f in listing.findings] == [("no_label", "t.csv:3"), ("bad_row", "t.csv:4")]
    assert "has 4 cells and the header has 2" in listing.findings[1].reason


def test_bad_encoding_names_the_line(root, list_data):
    (root / "labels.csv").write_bytes(b"path,label\nimg/a.png,x\nimg/b.png,\xe4\n")
    with pytest.raises(DataError, match=r"labels\.csv:3"):
        list_data(root, format="csv", file="labels.csv")


def test_missing_table(root, list_data):
    with pytest.raises(DataError, match="no such file") as error:
        list_data(root, format="csv", file="none.csv")
    assert str(root / "none.csv") in str(error.value)
    (root / "t.parquet").write_bytes(b"no parquet")
    with pytest.raises(DataError, match="can't be read as Parquet"):
        list_data(root, format="parquet", file="t.parquet")


@pytest.mark.parametrize("name", ["Patient_ID", "Patient ID", "patient-id", "subjectId", "participant_id"])
def test_a_column_of_patients_is_the_group(root, list_data, name):
    (root / "labels.csv").write_text(f"path,label,{name}\nimg/a.png,x,7\nimg/b.png,y,7\n")
    listing = list_data(root, format="csv", file="labels.csv")
    assert [r.group for r in listing.records] == ["7", "7"]
    assert [(f.kind, f.where) for f in listing.findings] == [("group_column", "labels.csv:1")]
    (root / "labels.csv").write_text("path,label,patient_id,group\nimg/a.png,x,7,g\n")
    assert list_data(root, format="csv", file="labels.csv").records[0].group == "g"


@pytest.mark.parametrize("key", ["group", "split"])
def test_a_column_that_the_spec_names_has_to_be_there(root, list_data, key):
    (root / "t.csv").write_text("path,label,patient,fold\nimg/a.png,x,p1,train\n")
    with pytest.raises(DataError, match="no column 'fould'") as caught:
        list_data(root, format="csv", file="t.csv", columns={key: "fould"})
    assert caught.value.problems[0].hint == "did you mean `fold`?"
    assert list_data(root, format="csv", file="t.csv", columns={key: "fold"}).records


@pytest.mark.parametrize(
    ("header", "hint"),
    [
        ("path label", "columns are separated by commas, semicolons or tabs, not by blanks"),
        ("img/a.png,cat", "put a first line with the names of the columns, such as path,label"),
        ("image,class", "put `columns: {path: image, label: class}` into `data`"),
        ("Image Path;label", "put `columns: {path: Image Path}` into `data`"),
        ("path,cat,dog", "labels stand in one column"),
        ("pat,label", "did you mean `pat`?"),
        ("# made by a tool", "the first line is a comment"),
        ("path|label", "columns are separated by commas, semicolons or tabs, not by `|`"),
        ("PK\x03\x04junk", "this is an Excel workbook"),
    ],
)
def test_a_header_that_is_another_one_gets_a_hint(root, list_data, header, hint):
    (root / "t.csv").write_text(f"{header}\nimg/a.png,x,y\n")
    with pytest.raises(DataError, match="the table has no column") as caught:
        list_data(root, format="csv", file="t.csv")
    assert caught.value.problems[0].hint.startswith(hint)


def test_the_columns_of_the_hint_are_right(root, list_data):
    (root / "t.csv").write_text("image,class\nimg/a.png,x\nimg/b.png,y\n")
    assert list_data(root, format="csv", file="t.csv", columns={"path": "image", "label": "class"}).records


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (
            ["1,0,0", "0,1,0", "0,0,1"],
            ("cat, dog, bird hold 0 and 1", "t.loc[:, 'cat':'bird'].idxmax(axis=1)"),
        ),
        (["1.0,1.0,", "0.0,0.0,True"], ("row.index[row == 1]", "multilabel: true")),
        (["1,2,0", "0,1,1"], ("cat, bird hold 0 and 1", "t[['cat', 'bird']].idxmax(axis=1)")),
    ],
)
def test_a_column_for_each_class_says_how_it_becomes_one(root, list_data, rows, words):
    lines = [f"img/{name}.png,{row}" for name, row in zip("abc", rows, strict=False)]
    (root / "labels.csv").write_text("\n".join(["path,cat,dog,bird", *lines]))
    with pytest.raises(DataError, match="the table has no column 'label'") as error:
        list_data(root, format="csv", file="labels.csv")
    assert all(word in error.value.problems[0].hint for word in words)


@pytest.mark.parametrize("rows", [[], ["0,0,0", "0,0,0"], ["1,2,3", "0,4,5"]])
def test_columns_that_are_no_classes_are_not_taken_for_any(root, list_data, rows):
    lines = [f"img/{name}.png,{row}" for name, row in zip("abc", rows, strict=False)]
    (root / "labels.csv").write_text("\n".join(["path,cat,dog,bird", *lines]))
    with pytest.raises(DataError, match="labels stand in one column"):
        list_data(root, format="csv", file="labels.csv")


def test_a_csv_that_is_called_parquet(root, list_data):
    (root / "t.csv").write_text("path,label\nimg/a.png,x\n")
    with pytest.raises(DataError, match="set `format: csv`"):
        list_data(root, format="parquet", file="t.csv")


def test_a_table_of_a_near_name_is_suggested(root, list_data):
    (root / "labels.csv").write_text("path,label\nimg/a.png,x\n")
    with pytest.raises(DataError, match=r"no such file: 'label\.csv'") as caught:
        list_data(root, format="csv", file="label.csv")
    assert caught.value.problems[0].hint == "did you mean `labels.csv`?"


def test_metadata_without_the_column(root, list_data):
    (root / "metadata.csv").write_text("path,other\nimg/a.png,x\n")
    with pytest.raises(DataError, match=r"metadata\.csv lacks a column"):
        list_data(root, format="image_folder", split={"group_by": "patient"})


def test_parquet_cells_of_other_types(tmp_path, paint, list_data):
    """Pandas makes numbers of whole columns where a cell is missing; some exporters write bytes."""
    labels = pa.array([0.0, 1.0, math.nan, None, 1.0])
    names = [f"{i}.png" for i in range(5)]
    for i, name in enumerate(names):
        paint(tmp_path / name, seed=i)
    table = pa.table({"path": names, "label": labels, "group": pa.array([7.0, math.nan, 7.0, 7.0, 8.0])})
    pq.write_table(table, tmp_path / "t.parquet")
    listing = list_data(tmp_path, format="parquet", file="t.parquet")
    assert [(r.id, r.labels, r.group) for r in listing.records] == [
        ("0.png", ("0",), "7"),
        ("1.png", ("1",), None),
        ("4.png", ("1",), "8"),
    ]
    assert [(f.kind, f.where) for f in listing.findings if f.severity == "quarantine"] == [
        ("no_label", "t.parquet:4"),
        ("no_label", "t.parquet:5"),
    ]


def test_parquet_cells_of_bytes(tmp_path, paint, list_data):
    for i in range(3):
        paint(tmp_path / f"{i}.png", seed=i)
    names = [b"0.png", b"1.png", b"2.png"]
    columns = {"path": names, "label": ["café".encode(), b"\xff", b"dog"], "unread": [b"\xff"] * 3}
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    listing = list_data(tmp_path, format="parquet", file="t.parquet")
    assert [(r.id, r.labels) for r in listing.records] == [("0.png", ("café",)), ("2.png", ("dog",))]
    (found,) = listing.findings
    assert (found.kind, found.where) == ("bad_row", "t.parquet:3")
    assert found.reason == "the cell 'label' is bytes that are no UTF-8 text"


def test_numbers_are_read_and_what_is_none_is_left_out(root, list_data):
    rows = ["41.5", "-3", "1e3", "n/a", "", "inf", "1_000", "1,5"]
    lines = [f'img/{name}.png,"{number}"' for name, number in zip("abcdefgh", rows, strict=True)]
    (root / "ages.csv").write_text("\n".join(["path,age", *lines]))
    fields = {"format": "csv", "file": "ages.csv", "columns": {"label": "age"}}
    listing = list_data(root, task="regression", **fields)
    assert listing.classes == ("age",)
    assert [record.labels for record in listing.records] == [("41.5",), ("-3",), ("1e3",)]
    assert [(f.kind, f.where) for f in listing.findings] == [
        ("no_number", "ages.csv:5"),
        ("no_label", "ages.csv:6"),
        *(("no_number", f"ages.csv:{line}") for line in (7, 8, 9)),
    ]
    assert "the column 'age' holds 'n/a', which is no number" in listing.findings[0].reason
    assert listing.findings[-1].reason.endswith("which is no number: decimals have a point")


def test_a_list_of_labels_where_an_image_has_one(root, list_data):
    pq.write_table(
        pa.table({"path": ["img/a.png", "img/b.png"], "label": [["cat"], ["cat", "dog"]]}), root / "t.parquet"
    )
    listing = list_data(root, format="parquet", file="t.parquet")
    assert [record.labels for record in listing.records] == [("cat",)]
    (bad,) = listing.findings
    assert (bad.severity, bad.where) == ("error", "t.parquet:3")
    assert "holds 2 values, where one is expected" in bad.reason


@pytest.mark.parametrize("name", ["Group", "GROUP"])
def test_a_group_column_in_capitals_keeps_images_together(root, list_data, name):
    (root / "t.csv").write_text(f"path,label,Patient,{name}\nimg/a.png,x,1,g1\nimg/b.png,y,2,g1\n")
    listing = list_data(root, format="csv", file="t.csv")
    assert [record.group for record in listing.records] == ["g1", "g1"]
    assert [finding.kind for finding in listing.findings] == ["group_column"]


def test_thousands_are_no_decimals(root, list_data):
    (root / "t.csv").write_text('path,label\nimg/a.png,"1,100"\nimg/b.png,2\n')
    listing = list_data(root, "regression", format="csv", file="t.csv")
    assert listing.findings[0].reason.endswith("thousands have no separator, and decimals a point")


def test_a_path_as_addresses_write_it(root, list_data, paint):
    paint(root / "img" / "a b.png")
    (root / "t.csv").write_text("path,label\nimg/a%20b.png,x\n")
    assert "it lies at 'img/a b.png'" in list_data(root, format="csv", file="t.csv").findings[0].reason


def test_a_blank_that_breaks_no_line_is_a_blank(root, list_data):
    (root / "t.csv").write_text("path,label\nimg/a.png,big cat\nimg/b.png,big\u00a0cat\n")
    listing = list_data(root, format="csv", file="t.csv")
    assert listing.classes == ("big cat",)
    assert [finding.kind for finding in listing.findings] == ["spellings"]
