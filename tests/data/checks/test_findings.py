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
        "3 files are left out: 0.png: the file is empty (and 2 more)",
        "data.split: chance made the splits uneven",
    )
    assert summarize_findings(EMPTY[:1]) == ("a file is left out: 0.png: the file is empty",)
    assert summarize_findings([]) == ()


def test_errors_are_refused_and_warnings_are_not():
    refuse_errors([UNEVEN, *EMPTY])
    leak = Finding("leak", "error", "a.png", "stands in two splits")
    with pytest.raises(DataError, match=r"a\.png: stands in two splits"):
        refuse_errors([UNEVEN, leak])
