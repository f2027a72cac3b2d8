"""CPUs by affinity and quota, and what PyTorch is told of them."""

import os
import platform
import subprocess
import sys

import pytest

from transferflow import cpus
from transferflow.cpus import (
    cpu_quota,
    decide_thread_settings,
    describe_cpu,
    own_cpus,
    shared_out,
    usable_cpus,
)


def write(root, files):
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


V1 = {"cpu.cfs_quota_us": "150000\n", "cpu.cfs_period_us": "100000\n"}


@pytest.mark.parametrize(
    ("line", "files", "expected"),
    [
        ("0::/", {"cpu.max": "200000 100000\n"}, 2.0),  # a container of its own namespace
        ("0::/job/step", {"job/step/cpu.max": "max 100000\n", "job/cpu.max": "50000 100000\n"}, 0.5),
        ("0::/a/b", {"a/b/cpu.max": "300000 100000\n", "a/cpu.max": "400000 100000\n"}, 3.0),
        ("4:cpu,cpuacct:/docker/1", {f"cpu,cpuacct/{name}": text for name, text in V1.items()}, 1.5),
        ("4:cpu:/slurm/1", {f"cpu/slurm/1/{name}": text for name, text in V1.items()}, 1.5),
        ("4:cpu:/", {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ("5:memory:/", {f"memory/{name}": text for name, text in V1.items()}, None),
        ("0::/", {"cpu.max": "nonsense"}, None),
        ("0::/", {}, None),
    ],
)
def test_the_quota_of_a_cgroup_and_of_those_around_it(tmp_path, line, files, expected):
    write(tmp_path / "sys", files)
    (tmp_path / "cgroup").write_text(f"7:pids:/\n{line}\n")
    assert cpu_quota(tmp_path / "cgroup", tmp_path / "sys") == expected


def test_without_cgroups_there_is_no_quota(tmp_path):
    assert cpu_quota(tmp_path / "none", tmp_path) is None


@pytest.mark.parametrize(("quota", "expected"), [(None, 64), (2.0, 2), (1.5, 2), (0.1, 1), (100.0, 64)])
def test_no_pool_is_larger_than_the_quota(monkeypatch, quota, expected):
    monkeypatch.setattr(cpus, "_allowed_cpus", lambda: 64)
    monkeypatch.setattr(cpus, "cpu_quota", lambda: quota)
    assert usable_cpus() == expected


def test_what_the_user_says_holds():
    said = {"OMP_NUM_THREADS": "8", "OMP_WAIT_POLICY": "ACTIVE"}
    assert decide_thread_settings(said, 64, 2) == {}
    assert decide_thread_settings({"GOMP_SPINCOUNT": "5"}, 64, 64) == {}


def test_threads_are_told_only_where_the_quota_is_less():
    """PyTorch itself counts by affinity, and leaves out the second thread of a core."""
    assert set(decide_thread_settings({}, 64, 64)) == {"GOMP_SPINCOUNT"}
    assert decide_thread_settings({}, 64, 2)["OMP_NUM_THREADS"] == "2"


def test_processes_that_compute_at_once_share_what_was_chosen_here_and_not_what_the_user_said(monkeypatch):
    monkeypatch.setattr(cpus, "usable_cpus", lambda: 8)
    chosen = decide_thread_settings({}, 64, 8)
    assert shared_out(chosen, 4)["OMP_NUM_THREADS"] == "2"
    assert shared_out({}, 16)["OMP_NUM_THREADS"] == "1"
    assert shared_out({"OMP_NUM_THREADS": "8"}, 4)["OMP_NUM_THREADS"] == "8"


@pytest.mark.parametrize(("together", "expected"), [(None, 8), ("4", 2), ("16", 1), ("", 8), ("0", 8)])
def test_processes_of_one_machine_share_its_cpus(monkeypatch, together, expected):
    """Whatever other machines take part, which have CPUs of their own."""
    monkeypatch.setattr(cpus, "usable_cpus", lambda: 8)
    environment = {"WORLD_SIZE": "64"} | ({} if together is None else {"LOCAL_WORLD_SIZE": together})
    assert own_cpus(environment) == expected


def test_the_command_says_it_before_torch_is_loaded():
    look = "import os, sys; assert 'torch' not in sys.modules; print(os.environ['GOMP_SPINCOUNT'])"
    code = f"from transferflow.cli.main import main; main(['validate', 'no-such-file']); {look}"
    environment = {name: value for name, value in os.environ.items() if name != "GOMP_SPINCOUNT"}
    found = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert found.stdout.splitlines()[-1] == "1000"


def test_a_cpu_is_told_from_another_one_by_name_and_abilities(tmp_path):
    first = "processor\t: 0\nmodel name\t: A CPU\ncpu MHz\t\t: 2000.1\nflags\t\t: fpu amx_bf16\n"
    (tmp_path / "cpuinfo").write_text(f"{first}\nprocessor\t: 1\nmodel name\t: A CPU\n")
    assert describe_cpu(tmp_path / "cpuinfo") == "model name\t: A CPU; flags\t\t: fpu amx_bf16"
    assert describe_cpu(tmp_path / "none") == f"{platform.machine()} {platform.processor()}"
