"""`transferflow run` in a group of processes of its own, as a shell has it; for `test_stopping.py`."""

import os
import signal
import sys

from transferflow.cli.main import main

if __name__ == "__alone__":
    spec, home, output = globals()["ARGUMENTS"]
    os.setsid()
    stream = os.open(output, os.O_WRONLY | os.O_CREAT)
    os.dup2(stream, 1)
    os.dup2(stream, 2)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.exit(main(["run", spec, "--no-prefect", "--home", home]))
