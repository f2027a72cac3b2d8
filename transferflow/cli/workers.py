"""`transferflow worker` and `transferflow resume`."""

from __future__ import annotations

import logging
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from transferflow.cli.console import output
from transferflow.logs import get_logger
from transferflow.text import printable

if TYPE_CHECKING:
    from pipelines.recovery import Recovered


def worker(
    pool: Annotated[str, typer.Option("--pool", metavar="NAME", help="Work pool to serve.")] = "gpu",
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit",
            metavar="N",
            min=1,
            help="Runs at once; default: one per GPU (without one, a single run), and one more.",
        ),
    ] = None,
) -> None:
    """Run on this machine what deployments have due, until SIGTERM or ctrl-C; send on what died.

    Each run takes as many GPUs as its spec's `deployment.gpus` says, and no other run gets them meanwhile.
    """
    workers: Any = import_module("transferflow.pipelines.worker")
    logging.basicConfig(format="%(message)s")
    get_logger().setLevel(logging.INFO)
    plan = workers.plan_worker(pool, limit)
    gpus = ", ".join(plan.gpus) or "none: one run at a time trains on the CPU"
    output().print(f"pool      {printable(pool)}, {plan.limit} runs at once\nGPUs      {gpus}")
    raise typer.Exit(workers.serve(plan, _print_recovered))


def resume(
    deploy: Annotated[
        str | None,
        typer.Option(
            "--deploy",
            metavar="POOL",
            help="Instead, let a worker of this pool do it every 5 minutes, in this folder.",
        ),
    ] = None,
) -> None:
    """Send runs of this machine whose process died on from their checkpoint; again and again without harm.

    `transferflow worker` does so by itself: `--deploy` is for Prefect's own workers. A run is sent on at most
    `deployment.retries` times, then it fails.
    """
    if deploy is not None:
        _deploy_resume(deploy)
        return
    recovery: Any = import_module("transferflow.pipelines.recovery")
    found = recovery.resume_runs()
    for run in found:
        _print_recovered(run)
    if not found:
        output().print("nothing to resume: no run of this machine is dead")


def _deploy_resume(pool: str) -> None:
    deployments: Any = import_module("transferflow.pipelines.deployments")
    projects: Any = import_module("transferflow.pipelines.project")
    report = deployments.deploy_resume(pool, projects.find_project(Path.cwd()))
    for change in report.changes:
        output().print(printable(f"{change.name}: {change.kind}, {change.schedule}, work pool {pool}"))


def _print_recovered(run: Recovered) -> None:
    words = {
        "send on": f"goes on from its checkpoint, start {run.starts + 1} of {run.retries + 1}",
        "fail": f"failed: it died {run.starts} times",
        "cancel": "cancelled",
    }
    output().print(printable(f"{run.name}: {words.get(run.verb, run.verb)}"))
