from __future__ import annotations

import re
from pathlib import Path

import pytest

from transferflow.cli.rates_view import draw_rates
from transferflow.training.rate_plan import RateRow


def rows(frozen: dict[str, set[int]], epochs: int = 3) -> list[RateRow]:
    rate = 1e-3
    return [
        RateRow(group, group, epoch, epoch in at, rate, rate / 2, 0.05)
        for group, at in frozen.items()
        for epoch in range(epochs)
    ]


@pytest.mark.parametrize(
    ("frozen", "strokes"),
    [
        ({"a": set()}, [1]),
        ({"a": {1}}, [2]),  # frozen between two phases in which it trains: no line through the gap
        ({"a": {0}, "b": {0, 1, 2}}, [1]),
    ],
)
def test_a_group_has_no_line_where_it_is_frozen(
    tmp_path: Path, frozen: dict[str, set[int]], strokes: list[int]
) -> None:
    draw_rates(rows(frozen), tmp_path / "rates.svg")
    svg = (tmp_path / "rates.svg").read_text()
    paths = re.findall(r'<path d="([^"]*)" clip-path="[^"]*" style="fill: none; stroke: #1f77b4', svg)
    assert [path.count("M ") for path in paths] == strokes


def test_many_blocks_are_coloured_in_their_order(tmp_path: Path) -> None:
    draw_rates(rows({f"blocks.{number}": set() for number in range(12)}), tmp_path / "rates.svg")
    svg = (tmp_path / "rates.svg").read_text()
    colours = re.findall(r"style=\"fill: none; stroke: (#[0-9a-f]{6}); stroke-width", svg)
    assert len(set(colours)) >= 12
