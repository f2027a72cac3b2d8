"""What `run` makes of the options for several machines, before anything is run."""

import subprocess
import sys

import pytest

from transferflow.cli.main import main
from transferflow.cli.nodes import Group, decide_group
from transferflow.training.distributed.addresses import Address


def test_one_machine_is_no_group():
    assert decide_group(1, None, 600.0) is None
    assert decide_group(2, "gpu-1:29500", 60.0) == Group(2, Address("gpu-1", 29500), 60.0)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--nnodes", "2"], "--rdzv HOST:PORT"),
        (["--rdzv", "gpu-1:29500"], "give --nnodes too"),
        (["--nnodes", "2", "--rdzv", "gpu-1"], "is not HOST:PORT"),
        (["--nnodes", "2", "--rdzv", "gpu-1:29500", "--preflight-only"], "looks at one machine"),
    ],
)
def test_options_that_are_missing_or_wrong_are_refused(words, said, capsys):
    assert main(["run", "spec.yaml", *words]) == 2
    assert said in " ".join(capsys.readouterr().err.replace("│", " ").split())


QUIET = """
import sys
from transferflow.cli.nodes import Group, run_on_nodes
from transferflow.training.distributed import meeting
from transferflow.training.distributed.addresses import parse_address

def meet(address, timeout):
    sys.exit("torch is loaded, and prints lost connections" if "torch" in sys.modules else 0)

meeting.open_meeting = meet
run_on_nodes(None, None, Group(2, parse_address("127.0.0.1:1"), 1.0), None)
"""


def test_torch_is_loaded_once_it_was_told_to_be_quiet_about_connections():
    subprocess.run([sys.executable, "-c", QUIET], check=True)
