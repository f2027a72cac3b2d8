"""Several trainings of specs in ranks, one after the other; for `test_many_devices.py`."""

import sys
from pathlib import Path

from transferflow.training.distributed.rank import run_rank


def work(job, ranks):
    from transferflow.stages.train.spread import fit_handed_over

    for each in job["jobs"]:
        fit_handed_over(each, ranks)


if __name__ == "__main__":
    run_rank(Path(sys.argv[1]), work)
