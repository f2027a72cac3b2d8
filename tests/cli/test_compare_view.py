"""What the tables of a comparison say of each metric."""

import io

import pytest
from rich.console import Console

from transferflow.cli.compare_view import compare_parts, print_parts
from transferflow.registry.gate import ChampionComparison
from transferflow.stages.compare import ModelComparison, Pair


@pytest.mark.parametrize(
    ("metric", "difference", "low", "high", "said"),
    [
        ("accuracy", 0.2, 0.1, 0.3, "better"),
        ("accuracy", -0.2, -0.3, -0.1, "worse"),
        ("accuracy", 0.2, -0.1, 0.5, ""),
        ("ece", 0.2, 0.1, 0.3, "worse"),
        ("ece", -0.2, -0.3, -0.1, "better"),
    ],
)
def test_what_is_better_depends_on_the_metric(metric, difference, low, high, said):
    compared = ChampionComparison("version 1", 0.5, difference, low, high)
    pair = Pair("m/1", "", {metric: compared}, (), "", (), 0, (), None, 1.0, 1.0)
    found = ModelComparison("m/2", 10, 1.0, 1.0, frozenset({"ece"}), (pair,))
    (row,) = compare_parts(found)[0].table.rows
    assert row[:4] == (metric, "0.5000", f"{0.5 + difference:.4f}", f"{difference:+.4f}")
    assert row[-1] == said


def test_in_80_columns_no_word_of_the_head_is_broken():
    compared = ChampionComparison(
        "version 1", 0.9937, 0.0041, 0.0, 0.0098, p_value=0.43, test="McNemar's exact test"
    )
    pair = Pair("quickstart/1", "", {"accuracy": compared}, (), "", (), 0, (), None, 1.0, 1.0)
    found = ModelComparison("quickstart/2", 10, 1.0, 1.0, frozenset(), (pair,))
    console = Console(width=80, file=io.StringIO())
    print_parts(console, "two", {}, compare_parts(found)[:1])
    said = console.file.getvalue()
    for word in ("quickstart/1", "quickstart/2", "difference", "0.9937", "0.9978"):
        assert f" {word} " in said.split("two", 1)[1], said
    assert max(map(len, said.splitlines())) <= 80
