"""What deploying would change: pure decisions from what is wanted and what is there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from prefect.client.schemas.objects import DeploymentSchedule
from prefect.client.schemas.responses import DeploymentResponse
from prefect.events.schemas.automations import Automation

from .schedules import build_schedule, describe_schedule, describe_schedules, is_same
from .triggers import build_trigger, is_same_trigger
from .wanted import DATASET_REFRESHED, SET_DIRECTORY, TAG, Wanted

SLUG = "spec"
"""Slug of the schedule that is the spec's; schedules without it were made by an operator."""
Kind = Literal["created", "updated", "unchanged", "removed"]
ScheduleChange = Literal["keep", "create", "replace", "delete"]
TriggerChange = Literal["keep", "create", "replace"]


@dataclass(frozen=True)
class Change:
    """What becomes of one deployment.

    Attributes:
        kind: In a word.
        name: Flow and deployment.
        path: The spec's file.
        work_pool: Where it runs.
        schedule: When, in words; empty: by hand.
        lines: Each difference, in words.
        fields: Fields of the deployment to replace; of a new one, those that do not follow from the spec.
        on_schedule: What to do with the spec's schedule.
        on_trigger: What to do with the automation that its data set's event starts.
    """

    kind: Kind
    name: str
    path: str
    work_pool: str = ""
    schedule: str = ""
    lines: tuple[str, ...] = ()
    fields: Mapping[str, Any] = field(default_factory=dict)
    on_schedule: ScheduleChange = "keep"
    on_trigger: TriggerChange = "keep"


@dataclass(frozen=True)
class Orphan:
    """A deployment of this project that no spec asks for.

    Attributes:
        name: Flow and deployment.
        path: The file that its spec was.
        why: What became of its spec.
        schedule: When it runs all the same; empty: by hand.
        is_dropped: Whether its spec is there and asks for it no longer: then it goes without being told to.
    """

    name: str
    path: str
    why: str
    schedule: str
    is_dropped: bool = False


def decide_change(
    wanted: Wanted,
    found: DeploymentResponse | None,
    schema: Mapping[str, Any],
    job_variables: Mapping[str, Any],
    trigger: Automation | None = None,
) -> Change:
    """Compare a deployment with what is wanted; whatever the spec does not say stays as it is.

    Args:
        wanted: What the spec asks for.
        found: What is there.
        schema: Of the flow's parameters.
        job_variables: Those that it should have.
        trigger: The automation that is there.
    """
    if found is None:
        schedule = describe_times(wanted)
        on_trigger: TriggerChange = "create" if wanted.dataset else "keep"
        return Change(
            "created",
            wanted.full_name,
            wanted.path,
            wanted.work_pool,
            schedule,
            fields={"job_variables": job_variables},
            on_trigger=on_trigger,
        )
    fields = {**_fields(wanted, found, schema), "job_variables": dict(job_variables)}
    differing = {  # what is empty comes back as None
        name: value for name, value in fields.items() if (getattr(found, name) or None) != (value or None)
    }
    ours = own_schedule(found)
    on_schedule = _decide_schedule(wanted, ours)
    lines = [*_describe(differing, found)]
    if on_schedule != "keep":
        before = describe_schedules([ours] if ours else [])
        lines.append(f"schedule: {before or 'by hand'} → {describe_times(wanted) or 'by hand'}")
    on_trigger = _decide_trigger(wanted, found, trigger)
    if on_trigger != "keep":
        lines.append(f"trigger: {DATASET_REFRESHED} of {wanted.dataset}")
    paused = " (paused)" if found.paused or (ours is not None and not ours.active) else ""
    return Change(
        kind="updated" if lines else "unchanged",
        name=wanted.full_name,
        path=wanted.path,
        work_pool=wanted.work_pool,
        schedule=f"{describe_times(wanted)}{paused}" if wanted.schedule else "",
        lines=tuple(lines),
        fields=differing,
        on_schedule=on_schedule,
        on_trigger=on_trigger,
    )


def decide_orphan(
    found: DeploymentResponse, flow: str, wanted: Sequence[Wanted], is_there: bool
) -> Orphan | None:
    """Whether a deployment of the project that is not wanted has lost its spec.

    Args:
        found: The deployment.
        flow: Name of its flow.
        wanted: The deployments that the given specs ask for.
        is_there: Whether its spec's file is there.

    Returns:
        `None` if its spec was just not among those given.
    """
    path = str(found.parameters.get("spec", ""))
    if any(each.name == found.name for each in wanted):  # another flow's
        return Orphan(f"{flow}/{found.name}", path, f"{path} has no deployment.{flow} any more", "", True)
    now = next((spec_of(each.name) for each in wanted if each.path == path), None)
    if now is None and is_there:
        return None
    why = f"its spec {path} is gone" if now is None else f"its spec {path} is called {now} now"
    active = [each for each in found.schedules if each.active and not found.paused]
    return Orphan(f"{flow}/{found.name}", path, why, describe_schedules(active))


def own_schedule(found: DeploymentResponse) -> DeploymentSchedule | None:
    """The schedule that the spec asked for when it was deployed."""
    return next((each for each in found.schedules if each.slug == SLUG), None)


def folder_of(found: DeploymentResponse) -> str:
    """Where a deployment runs; empty where that is not said."""
    for step in found.pull_steps or ():
        if SET_DIRECTORY in step:
            return str(step[SET_DIRECTORY].get("directory"))
    return ""


def spec_of(deployment: str) -> str:
    """Name that the spec of a deployment of this name had when it was deployed."""
    return deployment.partition(".")[2]


def describe_times(wanted: Wanted) -> str:
    """Its schedule in words; empty without one."""
    return describe_schedule(build_schedule(wanted.schedule)) if wanted.schedule else ""


def _fields(wanted: Wanted, found: DeploymentResponse, schema: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that are the spec's, as they should be."""
    others = [tag for tag in found.tags if tag != TAG and not tag.startswith(f"{TAG}:")]
    return {
        "version": wanted.version,
        "description": wanted.description,
        "work_pool_name": wanted.work_pool,
        "entrypoint": wanted.entrypoint,
        "parameters": {**found.parameters, **wanted.parameters},
        "pull_steps": [dict(step) for step in wanted.pull_steps],
        "tags": [*wanted.tags, *others],
        "parameter_openapi_schema": dict(schema),
    }


def _decide_schedule(wanted: Wanted, ours: DeploymentSchedule | None) -> ScheduleChange:
    if wanted.schedule is None:
        return "keep" if ours is None else "delete"
    if ours is None:
        return "create"
    return "keep" if is_same(ours.schedule, build_schedule(wanted.schedule)) else "replace"


def _decide_trigger(wanted: Wanted, found: DeploymentResponse, trigger: Automation | None) -> TriggerChange:
    if not wanted.dataset:
        return "keep"
    if trigger is None:
        return "create"
    return "keep" if is_same_trigger(trigger, build_trigger(wanted, found.id)) else "replace"


def _describe(differing: Mapping[str, Any], found: DeploymentResponse) -> Iterator[str]:
    for name, value in differing.items():
        match name:
            case "parameters":
                for key in sorted(value):
                    before, after = found.parameters.get(key), value[key]
                    if key != "sha256" and before != after:  # the version says that already
                        yield f"{key}: {_or_none(before)} → {_or_none(after)}"
                if value.get("sha256") != found.parameters.get("sha256") and "version" not in differing:
                    yield "sha256: another"
            case "pull_steps":
                yield f"folder: {folder_of(found) or 'none'} → {value[0][SET_DIRECTORY]['directory']}"
            case "parameter_openapi_schema":
                yield "parameters: those of this version of transferflow"
            case "job_variables":
                yield "job variables: those that follow from its spec"
            case "tags":
                yield "tags: this project's"
            case "description" | "entrypoint":
                yield f"{name}: {value}"
            case _:
                yield f"{name.removesuffix('_name').replace('_', ' ')}: {getattr(found, name)} → {value}"


def _or_none(value: object) -> str:
    if value is None:
        return "none"
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
