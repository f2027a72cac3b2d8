"""What control groups grant of memory; CPUs are in test_cpus."""

import pytest

from transferflow.cgroups import memory_limit


@pytest.mark.parametrize(
    ("line", "files", "expected"),
    [
        ("0::/job/step", {"job/step/memory.max": "max\n", "job/memory.max": "5000\n"}, 5000),
        ("0::/a/b", {"a/b/memory.max": "3000", "a/memory.max": "2000", "memory.max": "max"}, 2000),
        ("9:memory:/docker/1", {"memory/memory.limit_in_bytes": "7000"}, 7000),
        ("9:cpu:/", {"memory/memory.limit_in_bytes": "7000"}, None),
        ("0::/", {}, None),
    ],
)
def test_the_least_of_a_group_and_of_those_around_it(tmp_path, line, files, expected):
    for name, text in files.items():
        (tmp_path / "sys" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "sys" / name).write_text(text)
    (tmp_path / "cgroup").write_text(f"7:pids:/\n{line}\n")
    assert memory_limit(tmp_path / "cgroup", tmp_path / "sys") == expected


def test_without_groups_there_is_no_limit(tmp_path):
    assert memory_limit(tmp_path / "none", tmp_path) is None
