"""The table in docs/limits.md is the module."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from transferflow import limits

NAMES = sorted(name for name in vars(limits) if name.startswith("MAX_"))
ROWS = dict(
    reversed(cells)
    for cells in re.findall(
        r"^\| [^|]+ \| ([^|]+) \| `(\w+)` \|$",
        (Path(__file__).parents[1] / "docs" / "limits.md").read_text(),
        re.MULTILINE,
    )
)


@pytest.mark.parametrize("name", NAMES)
def test_each_limit_is_in_the_docs_with_its_value(name: str) -> None:
    value = getattr(limits, name)
    assert ROWS[name] == (f"{value >> 30} GiB" if value % (1 << 30) == 0 else f"{value:,}")


def test_the_docs_name_no_other_limit() -> None:
    assert sorted(ROWS) == NAMES
