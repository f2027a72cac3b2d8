"""Nobody is told of a run that the user did not tell."""

import os
import subprocess
import sys

CODE = """
import os, sys, transferflow.pipelines
assert "prefect" not in sys.modules
print(os.environ["DO_NOT_TRACK"])
"""


def test_telemetry_is_off_before_prefect_is_imported():
    environment = {name: value for name, value in os.environ.items() if name not in ("DO_NOT_TRACK", "CI")}
    for asked, found in (({}, "1"), ({"DO_NOT_TRACK": "0"}, "0")):
        done = subprocess.run(
            [sys.executable, "-c", CODE], env=environment | asked, capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == found
