"""`run --nnodes`: the node that owns the run runs its stages, the others take part in the training alone."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

import typer

from transferflow.cli.console import output, read_or_not

if TYPE_CHECKING:
    from transferflow.spec import ExperimentSpec
    from transferflow.stages.context import RunContext
    from transferflow.stages.outcome import StageOutcome
    from transferflow.training.distributed.addresses import Address

NODES = "Several machines"
NodeCount = Annotated[
    int,
    typer.Option(
        "--nnodes",
        min=1,
        max=1024,
        rich_help_panel=NODES,
        help="Machines that train together, each by the same command; without Prefect.",
    ),
]
Rendezvous = Annotated[
    str | None,
    typer.Option(
        "--rdzv",
        metavar="HOST:PORT",
        rich_help_panel=NODES,
        help="Where they meet: an address of one of them, which owns the run.",
    ),
]
RendezvousTimeout = Annotated[
    float,
    typer.Option(
        "--rdzv-timeout",
        metavar="SECONDS",
        min=1.0,
        rich_help_panel=NODES,
        help="How long to wait for machines that are missing, at the start or after one was lost.",
    ),
]


@dataclass(frozen=True)
class Group:
    """Nodes that train together.

    Attributes:
        count: How many.
        address: Where they meet.
        timeout: Seconds to wait for those that are missing.
    """

    count: int
    address: Address
    timeout: float


def decide_group(nnodes: int, rdzv: str | None, timeout: float) -> Group | None:
    """What the options come to; `None` for a run on one machine.

    Raises:
        BadParameter: If one is missing or wrong.
    """
    if nnodes == 1:
        if rdzv is not None:
            raise typer.BadParameter("one machine meets nobody: give --nnodes too", param_hint="--rdzv")
        return None
    if rdzv is None:
        raise typer.BadParameter("say where the machines meet: --rdzv HOST:PORT", param_hint="--nnodes")
    from transferflow.training.distributed.addresses import parse_address

    try:
        return Group(nnodes, parse_address(rdzv), timeout)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--rdzv") from None


def run_on_nodes(
    spec: ExperimentSpec,
    context: RunContext,
    group: Group,
    on_stage: Callable[[StageOutcome], None] | None,
) -> tuple[StageOutcome, ...] | None:
    """Run the stages if this node owns the run, else take part in its training.

    Args:
        spec: What to run.
        context: Surroundings of the run.
        group: The nodes.
        on_stage: Sees each outcome as it comes.

    Returns:
        The outcomes; `None` on a node that took part.
    """
    from transferflow.stages.run import run_plan
    from transferflow.training.distributed.meeting import open_meeting
    from transferflow.training.distributed.nodes import Joiner, Owner

    meeting = open_meeting(group.address, group.timeout)
    if not meeting.is_host:
        from transferflow.stages.train.nodes import join  # loads torch, told by then to be quiet

        there = join(spec, context, Joiner(meeting), group.count)
        did = "this node has taken part in the training" if there else "there was nothing to train"
        with read_or_not(sys.stdout):
            output().print(f"{did}: the one at {group.address} evaluates and registers the model")
        return None
    owner = Owner(meeting, group.count, group.timeout)
    try:
        return run_plan(spec, replace(context, owner=owner), on_stage)
    except BaseException as reason:
        owner.finish(reason)
        raise
