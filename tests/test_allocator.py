"""Memory that is kept for the next batch."""

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="an option of glibc")
_CODE = """
import resource, torch
from transferflow.allocator import keep_freed_memory
print(keep_freed_memory())
for _ in range(10):  # the first ones leave small pieces between them
    torch.ones(1 << 24)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(4):
    torch.ones(1 << 24)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def _run(**said: str) -> list[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    done = subprocess.run(
        [sys.executable, "-c", _CODE], env=environment | said, capture_output=True, text=True, check=True
    )
    return done.stdout.split()


def test_a_tensor_takes_the_pages_of_the_one_before():
    does, faults = _run()
    assert does == "True"
    assert int(faults) < 1000  # 65,536 pages of 4 KiB in four tensors


def test_what_the_user_says_of_memory_holds():
    assert _run(MALLOC_MMAP_MAX_="65536")[0] == "False"
