"""One node that trains the tiny model, for `test_launch.py`: HOST:PORT FOLDER RESTARTS CASE… say how."""

import logging
import sys
from pathlib import Path

from transferflow.errors import TransferflowError
from transferflow.training.distributed.addresses import parse_address
from transferflow.training.distributed.launch import Launch
from transferflow.training.distributed.launch_nodes import launch_as_joiner, launch_as_owner
from transferflow.training.distributed.meeting import open_meeting
from transferflow.training.distributed.nodes import Joiner, Owner

SCRIPT = str(Path(__file__).with_name("ranks_run.py"))


def main(address, folder, restarts, *cases):
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    plan = Launch((SCRIPT,), 1, "cpu", int(restarts))
    job = {"folder": folder, "cases": cases}
    try:
        meeting = open_meeting(parse_address(address), 30.0)
        if not meeting.is_host:
            launch_as_joiner(plan, job, Joiner(meeting))
            return 0
        owner = Owner(meeting, 2, 30.0)
        try:
            launch_as_owner(plan, job, owner)
        except BaseException as error:
            owner.finish(error)
            raise
        owner.finish()
    except TransferflowError as error:
        print(error, flush=True)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
