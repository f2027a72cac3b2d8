from __future__ import annotations

import json

import pytest

from transferflow.data.formats.json_lines import entry_lines, with_lines
from transferflow.data.listing import load_listing
from transferflow.data.records import Finding
from transferflow.data.snapshot.inspection import check_listing

TEXT = """\ufeff
{"info": {"a": [1, {"b": "}]\\""}], "images": []},
 "images": [
  {"id": 1, "note": "] , [ \\\\"}, {"id": 2,
   "x": [[1, 2], []]},

  "odd",
  null, 3.5e-7 ],
 "annotations" : [ ] , "categories":[{"id": 1}]
}
"""


def test_lines_of_entries(tmp_path):
    file = tmp_path / "a.json"
    file.write_text(TEXT, encoding="utf-8")
    wanted = [("images", i) for i in range(6)] + [("annotations", 0), ("categories", 0)]
    assert entry_lines(file, wanted) == {
        ("images", 0): 4,
        ("images", 1): 4,
        ("images", 2): 7,
        ("images", 3): 8,
        ("images", 4): 8,
        ("categories", 0): 9,
    }


@pytest.mark.parametrize("indent", [None, 0, 1, "\t"])
def test_whatever_the_layout(tmp_path, indent):
    notes = [{"id": i, "text": ["\n", "]"] * i} for i in range(9)]
    text = json.dumps({"annotations": notes, "images": [{}]}, indent=indent)
    (tmp_path / "a.json").write_text(text)
    lines = entry_lines(tmp_path / "a.json", {("annotations", i) for i in range(9)})
    rows = text.splitlines()
    for i in range(9):
        after = "\n".join(rows[lines["annotations", i] - 1 :])
        assert f'"id": {i}' in after
        assert f'"id": {i - 1}' not in after or indent is None


@pytest.mark.parametrize("text", [None, "", "{", '{"images": [{}, ', '{"images": 1} }', "[1, 2]"])
def test_a_file_that_has_changed_gives_no_lines(tmp_path, text):
    if text is not None:
        (tmp_path / "a.json").write_text(text)
    findings = [Finding("k", "error", "a.json:images[0]", "why"), Finding("k", "error", "b.csv:3", "why")]
    found = with_lines(findings, tmp_path)
    assert [f.where for f in found] in (["a.json:images[0]", "b.csv:3"], ["a.json:1 images[0]", "b.csv:3"])


def test_findings_of_a_check_have_their_line(tmp_path, paint, data_section, truth_of):
    paint(tmp_path / "x.png")
    (tmp_path / "bad.png").write_bytes(b"")
    whole = {
        "images": [{"id": i, "file_name": f} for i, f in enumerate(("x.png", "bad.png", "../y.png"))],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": [
            {"image_id": 0, "category_id": 1, "bbox": [1, 1, 90, 5]},
            {"image_id": 0, "category_id": 7, "bbox": [1, 1, 9, 5]},
        ],
    }
    (tmp_path / "a.json").write_text(json.dumps(whole, indent=1))
    data = data_section(format="coco", root=str(tmp_path), annotations="a.json", max_bad_fraction=1)
    truth = truth_of("detection")
    findings = check_listing(data, truth, load_listing(data, truth)).findings
    places = {f.kind: f.where for f in findings}
    rows = (tmp_path / "a.json").read_text().splitlines()
    for kind, entry, near in (
        ("outside_root", "images[2]", "../y.png"),
        ("empty_file", "images[1]", "bad.png"),
        ("unknown_label", "annotations[1]", '"category_id": 7'),
        ("box_outside", "annotations[0]", '"category_id": 1'),
    ):
        where, _, shown = places[kind].partition(" ")
        file, line = where.split(":")
        assert (file, shown) == ("a.json", entry)
        assert rows[int(line) - 1].strip() == "{"
        assert near in "".join(rows[int(line) - 1 : int(line) + 3])
