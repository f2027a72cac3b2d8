"""What a spec asks of a Prefect server: its deployments, as plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from transferflow.spec import ExperimentSpec
from transferflow.spec.deciding import deployed_gpus, poll_schedule
from transferflow.spec.sections.run_times import AnySchedule, IntervalSchedule

from .project import Project

FlowName = Literal["train", "refresh", "resume"]
TAG = "transferflow"
"""Tag of every deployment that `transferflow deploy` made."""
DATASET_REFRESHED = "transferflow.dataset.refreshed"
"""Event that says that a data set has been refreshed."""
DATASET = "transferflow.dataset"
"""Resource of that event: all data sets; with a dot and the spec's `data.root`, one of them."""
RESUME_EVERY = "5m"
SET_DIRECTORY = "prefect.deployments.steps.set_working_directory"
_ABOUT: Mapping[FlowName, str] = {
    "train": "Prepares, trains, evaluates and registers `{path}`.",
    "refresh": "Looks whether the data of `{path}` has changed, and trains again when its rule says so.",
    "resume": "Sends runs whose process died on from their checkpoint.",
}
_ENTRYPOINTS: Mapping[FlowName, str] = {
    "train": "transferflow.pipelines.flows.train",
    "refresh": "transferflow.pipelines.refresh.refresh",
    "resume": "transferflow.pipelines.resume.resume",
}


@dataclass(frozen=True)
class Target:
    """A spec to deploy.

    Attributes:
        spec: The checked spec.
        path: Its file, as the worker finds it from the project's folder.
        work_pool: Where it runs.
        sha256: What the file says, see `spec_digest`.
        version: The same for people, with the commit.
    """

    spec: ExperimentSpec
    path: str
    work_pool: str
    sha256: str
    version: str


@dataclass(frozen=True)
class Wanted:
    """A deployment as it should be. What is not in here belongs to whoever operates the server.

    Attributes:
        flow: Name of the flow.
        name: Name of the deployment.
        path: The spec's file; empty: it belongs to no single spec.
        version: State of the spec, for people.
        work_pool: Where it runs.
        parameters: Of the flow; others that are set on the server stay.
        pull_steps: What a worker does before it loads the flow.
        tags: Others that are set on the server stay.
        schedule: When it runs; `None`: by hand.
        description: For people.
        dataset: The data set whose event runs it, too; empty: none.
        gpus: GPUs of a run, where its container must be given them.
    """

    flow: FlowName
    name: str
    path: str
    version: str
    work_pool: str
    parameters: Mapping[str, Any]
    pull_steps: Sequence[Mapping[str, Any]]
    tags: Sequence[str]
    schedule: AnySchedule | None
    description: str
    dataset: str = ""
    gpus: int = 0

    @property
    def full_name(self) -> str:
        """Flow and deployment, as `prefect deployment run` takes it."""
        return f"{self.flow}/{self.name}"

    @property
    def entrypoint(self) -> str:
        """Where a worker finds the flow."""
        return _ENTRYPOINTS[self.flow]


def build_wanted(target: Target, project: Project, parameters: Mapping[str, Any]) -> list[Wanted]:
    """The deployments of one spec.

    Args:
        target: The spec.
        project: Whose it is.
        parameters: Further parameters of the flow, the same for all specs.
    """
    deployment = target.spec.deployment
    schedules: dict[FlowName, AnySchedule | None] = {"train": deployment.schedule}
    if deployment.refresh is not None:
        schedules["refresh"] = poll_schedule(deployment.refresh)
    return [
        Wanted(
            flow=flow,
            name=project.deployment(target.spec.name),
            path=target.path,
            version=target.version,
            work_pool=target.work_pool,
            parameters={"overrides": None, **parameters, "spec": target.path, "sha256": target.sha256},
            pull_steps=[{SET_DIRECTORY: {"directory": str(project.folder)}}],
            tags=(TAG, project.tag),
            schedule=schedule,
            description=_ABOUT[flow].format(path=target.path),
            dataset=str(target.spec.data.root) if flow == "refresh" else "",
            gpus=deployed_gpus(target.spec),
        )
        for flow, schedule in schedules.items()
    ]


def build_resume(work_pool: str, project: Project) -> Wanted:
    """The deployment that sends dead runs on, for a work pool.

    Args:
        work_pool: Where it runs, and whose runs it finds: those whose home its worker shares.
        project: Whose it is.
    """
    return Wanted(
        flow="resume",
        name=project.deployment(work_pool),
        path="",
        version="",
        work_pool=work_pool,
        parameters={},
        pull_steps=[{SET_DIRECTORY: {"directory": str(project.folder)}}],
        tags=(TAG, project.tag),
        schedule=IntervalSchedule(interval=RESUME_EVERY),
        description=_ABOUT["resume"],
    )
