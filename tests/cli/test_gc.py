import pytest

from transferflow.cli.gc import _bytes


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (2_500_000, "2.5 MB"),
        (3e9, "3.0 GB"),
        (5e15, "5000.0 TB"),
    ],
)
def test_bytes_are_shown_in_the_unit_that_fits(size, shown):
    assert _bytes(size) == shown
