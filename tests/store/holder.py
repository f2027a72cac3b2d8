"""Holds the lock of a key until it is killed; for `test_locks.py`. Prints a line when it has it."""

import sys
import time
from pathlib import Path

from transferflow.store.files import name_beside
from transferflow.store.locks import KeyLock

home, stage, key = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
with KeyLock(home, stage, key).hold():
    beside = name_beside(home / "artifacts" / stage / key)
    beside.mkdir(parents=True)
    (beside / "half").write_text("half")
    print("held", flush=True)
    time.sleep(600)
