import os

import pytest

from transferflow.data.loading.workers import decide_workers, usable_cpus


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system binds no process to CPUs")
def test_cpus_that_the_process_may_not_use_do_not_count():
    granted = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(granted)})
        assert usable_cpus() == 1
    finally:
        os.sched_setaffinity(0, granted)
    assert usable_cpus() == len(granted)


@pytest.mark.parametrize(
    ("asked", "cheap", "cpus", "expected"),
    [
        (3, True, 1, 3),
        (0, False, 8, 0),
        ("auto", True, 8, 0),
        ("auto", False, 1, 0),
        ("auto", False, 2, 1),
        ("auto", False, 64, 8),
    ],
)
def test_decide_workers(asked, cheap, cpus, expected):
    assert decide_workers(asked, cheap, cpus) == expected
