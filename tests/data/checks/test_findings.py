from __future__ import annotations

import pytest

from transferflow.data.checks.findings import (
    FINDINGS,
    QUARANTINE,
    load_findings,
    refuse_errors,
    summarize_findings,
    write_findings,
)
from transferflow.data.records import Finding
from transferflow.errors import DataError

EMPTY = [Finding("empty", "quarantine", f"{number}.png", "the file is empty") for number in range(3)]
UNEVEN = Finding("uneven_split", "warning", "data.split", "chance made the splits uneven")


def test_findings_come_back_as_they_were(tmp_path):
    write_findings([UNEVEN, *EMPTY], tmp_path)
    assert load_findings(tmp_path) == (UNEVEN, *EMPTY)
    lines = (tmp_path / QUARANTINE).read_text().splitlines()
    assert lines == ["where,kind,reason", *(f"{n}.png,empty,the file is empty" for n in range(3))]


@pytest.mark.parametrize("text", ["", "{}[", '[{"kind": "x"}]', "[1]"])
def test_damaged_findings_are_an_error(tmp_path, text):
    (tmp_path / FINDINGS).write_text(text)
    with pytest.raises(DataError, match="missing or damaged"):
        load_findings(tmp_path)


def test_a_kind_is_one_sentence_and_left_out_files_come_first():
    assert summarize_findings([UNEVEN, *EMPTY]) == (
        "3 files are left out: 0.png, 1.png, 2.png: the file is empty",
        "data.split: chance made the splits uneven",
    )
    assert summarize_findings(EMPTY[:1]) == ("a file is left out: 0.png: the file is empty",)
    assert summarize_findings([]) == ()


def test_many_of_a_kind_are_counted_with_the_first_three():
    alike = [Finding("box_outside", "warning", f"{n}.xml", f"a box leaves by {n} px") for n in range(1200)]
    empty = [Finding("empty", "quarantine", f"{n}.png", "the file is empty") for n in range(5)]
    leak = Finding("leak", "error", "a.png", "stands in two splits")
    assert summarize_findings([alike[0], *empty, leak, *alike[1:]]) == (
        "a.png: stands in two splits",
        "5 files are left out: 0.png, 1.png, 2.png: the file is empty (and 2 more)",
        "box outside, 1,200 times: 0.xml: a box leaves by 0 px; 1.xml: a box leaves by 1 px; "
        "2.xml: a box leaves by 2 px (and 1,197 more)",
    )


def test_a_reason_that_begins_with_its_place_says_it_once():
    alike = Finding("near_duplicate", "warning", "1/a.png", "1/a.png in val looks like 1/b.png in train")
    assert summarize_findings([alike]) == ("1/a.png in val looks like 1/b.png in train",)


def test_errors_are_refused_and_warnings_are_not():
    refuse_errors([UNEVEN, *EMPTY])
    leak = Finding("leak", "error", "a.png", "stands in two splits")
    with pytest.raises(DataError, match=r"a\.png: stands in two splits"):
        refuse_errors([UNEVEN, leak])


def test_a_refusal_groups_what_is_wrong_and_says_how_to_see_all():
    leaks = [Finding("leak", "error", f"{n}.png", "stands in two splits") for n in range(400)]
    with pytest.raises(DataError) as refused:
        refuse_errors([UNEVEN, *EMPTY, *leaks])
    (problem,) = refused.value.problems
    assert problem.what == "the data set has 400 errors"
    assert problem.found == (
        "leak, 400 times: 0.png, 1.png, 2.png: stands in two splits (and 397 more)\n"
        "3 files are left out: 0.png, 1.png, 2.png: the file is empty"
    )
    assert problem.hint == "`transferflow data check SPEC --limit 403` lists all 403"
