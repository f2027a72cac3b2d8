from __future__ import annotations

from transferflow.data.checks.labels import check_names
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
