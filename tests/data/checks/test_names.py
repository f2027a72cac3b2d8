from __future__ import annotations

import pytest

from transferflow.data.checks.names import check_groups, check_names
from transferflow.spec.sections.truth import BoxTruth, LabelTruth


def found(labels, truth=None):
    listed = [(f"t.csv:{line}", (label,)) for line, label in enumerate(labels, 2)]
    return list(check_names(truth or LabelTruth(), sorted(set(labels)), listed))


def test_measures_that_were_taken_for_classes_are_a_regression():
    (finding,) = found([f"{number * 0.37:.3f}" for number in range(30)])
    assert (finding.kind, finding.severity, finding.where) == ("numeric_labels", "error", "t.csv:2")
    assert finding.reason.startswith("30 of 30 labels are numbers with decimals, such as '0.000'")
    assert "kind: regression" in finding.reason


def test_few_numbers_and_whole_ones_are_names_of_classes():
    assert not found(["1.5", "2.5", "3.5"] * 20)
    assert not found([str(number) for number in range(50)])
    assert not found([f"{number}.25" for number in range(30)], BoxTruth())


@pytest.mark.parametrize(
    ("labels", "severity", "what"),
    [
        (["1", "1.0"], "error", "are one number:"),
        (["01", "1"], "warning", "are one number but for zeros in front:"),
        (["01", "1", "1.0"], "error", "are one number:"),
        (["TRUE", "1", "1.0"], "warning", "are one value, as a number and as a word:"),
        (["Cat", "cat"], "warning", "differ in case, blanks or width alone:"),
        (['"cat"', "cat"], "warning", "differ in quotation marks alone:"),
        (["cat", "\u201ccat\u201d"], "warning", "differ in quotation marks alone:"),
        (["cat", "c\u0430t"], "warning", r"alphabets (one of them is 'c\u0430t'):"),
        (["BOX", "\u0392\u039f\u03a7"], "warning", "look alike and have letters of different alphabets"),
    ],
)
def test_labels_that_are_one_to_a_reader(labels, severity, what):
    (finding,) = found(labels * 3)
    assert (finding.kind, finding.severity) == ("similar_labels", severity)
    assert what in finding.reason
    assert all(f"{label!r} (3)" in finding.reason for label in labels)


def test_ordinary_labels_are_told_apart():
    assert not found(["0", "1", "10", "100", "-1", "cat", "rat", "'tis", "5'", "5"])
    assert not found(["\u043a\u043e\u0442", "\u043a\u0438\u0442", "kot"])  # Russian
    assert not found(["traffic light", "light", "traffic", "a-b", "a/b", "a", "b"])


def test_an_unknown_label_of_other_letters_says_so():
    labelled = [
        ("t.csv:2", ("cat",)),
        ("t.csv:3", ("c\u0430t",)),
        ("t.csv:4", ("dgo",)),
        ("t.csv:5", ("dog",)),
    ]
    said = {f.where: f.reason for f in check_names(LabelTruth(), ["cat", "dog"], labelled)}
    assert said["t.csv:3"].endswith(r"it looks like 'cat', and has other letters: 'c\u0430t'")
    assert said["t.csv:4"].endswith("did you mean `dog`?")


@pytest.mark.parametrize(
    ("joined", "several", "hint"),
    [
        ("a|b", False, "multilabel: true and data.label_separator: '|'"),
        ("a; b", True, "set data.label_separator: ';'"),
        ("a b", True, "set data.label_separator: ' '"),
    ],
)
def test_labels_that_are_others_in_a_row(joined, several, hint):
    (finding,) = found(["a", "b", joined], LabelTruth(several=several))
    assert (finding.kind, finding.severity, finding.where) == ("joined_labels", "warning", "t.csv:4")
    assert finding.reason == f"1 label is others in a row, such as {joined!r}, which would be a class: " + (
        hint if several else f"several labels of an image take {hint}"
    )
    assert not found(["a", "c", joined], LabelTruth(several=several))
    assert not found(["a", "b", joined], BoxTruth())


@pytest.mark.parametrize(
    ("groups", "severity", "what"),
    [
        (["3", "3.0", "4"], "error", "are one number"),
        (["p1", "P1"], "warning", "differ in case, blanks or width alone"),
        (["p1", "p 1", "03", "3", None, None], None, ""),
    ],
)
def test_groups_that_are_one_to_a_reader(groups, severity, what):
    findings = list(check_groups((f"t.csv:{line}", group) for line, group in enumerate(groups, 2)))
    assert [(f.kind, f.severity, f.where) for f in findings] == (
        [("similar_groups", severity, "t.csv:3")] if severity else []
    )
    assert all(what in f.reason for f in findings)


@pytest.mark.parametrize("label", ["-", "?", "#VALUE!"])
def test_signs_of_a_missing_value(label):
    (finding,) = found(["cat", "dog", label])
    assert (finding.kind, finding.where) == ("missing_word", "t.csv:4")
