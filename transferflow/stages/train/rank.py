"""One of several processes that train a spec's model.

It is run as `python -m transferflow.stages.train.rank FOLDER`, with the folder of the exchange.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transferflow.training.distributed.rank import run_rank
from transferflow.training.ranks import Ranks


def train_share(job: Mapping[str, Any], ranks: Ranks) -> None:
    """Take part in a training.

    Args:
        job: As `stages.train.spread` hands it over.
        ranks: This process among the others.
    """
    from transferflow.stages.train.spread import fit_handed_over  # torch and timm take seconds

    fit_handed_over(job, ranks)


if __name__ == "__main__":
    run_rank(Path(sys.argv[1]), train_share)
