"""Automations that start a refresh as soon as somebody says that a data set has been refreshed."""

from __future__ import annotations

from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prefect.events.actions import RunDeployment
from prefect.events.schemas.automations import Automation, AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification

from .wanted import DATASET, DATASET_REFRESHED, TAG, Wanted

_OWNER = "prefect.deployment."
_PAGE = 200


def trigger_name(wanted: Wanted) -> str:
    """How the automation of a refresh is called: servers do not tell whose an automation is."""
    return f"{wanted.full_name} on {DATASET_REFRESHED}"


def build_trigger(wanted: Wanted, deployment_id: UUID) -> AutomationCore:
    """The automation of a refresh: the event of its data set, or of all of them, runs it."""
    datasets: list[str] = [DATASET, f"{DATASET}.{wanted.dataset}"]
    return AutomationCore(
        name=trigger_name(wanted),
        description=f"Looks at the data of `{wanted.path}` when it is said to be refreshed.",
        tags=list(wanted.tags),
        trigger=EventTrigger(
            expect={DATASET_REFRESHED},
            match=ResourceSpecification.model_validate({"prefect.resource.id": datasets}),
            posture=Posture.Reactive,
        ),
        actions=[RunDeployment(source="selected", deployment_id=deployment_id)],
    )


async def read_triggers(client: PrefectClient) -> dict[str, Automation]:
    """Automations that this module made, by name; page by page."""
    found: dict[str, Automation] = {}
    offset = 0
    while page := await client.read_automations(limit=_PAGE, offset=offset):
        offset += len(page)
        found |= {each.name: each for each in page if TAG in each.tags}
    return found


def is_same_trigger(found: Automation, wanted: AutomationCore) -> bool:
    """Whether an automation does what is wanted, with whatever else an operator has set."""
    return _what_it_does(found) == _what_it_does(wanted)


def _what_it_does(automation: AutomationCore) -> list[object]:
    trigger = automation.trigger
    if not isinstance(trigger, EventTrigger):
        return []
    labels = trigger.match if isinstance(trigger.match, dict) else trigger.match.model_dump()
    match = {label: sorted(_values(value)) for label, value in labels.items()}
    runs = [each.deployment_id for each in automation.actions if isinstance(each, RunDeployment)]
    return [trigger.expect, trigger.posture, match, runs]


def _values(value: object) -> list[str]:
    return [value] if isinstance(value, str) else list(map(str, value)) if isinstance(value, list) else []


async def apply_trigger(
    client: PrefectClient, wanted: Wanted, deployment_id: UUID, found: Automation | None
) -> None:
    """Make or replace the automation of a refresh; one that an operator switched off stays off."""
    automation = build_trigger(wanted, deployment_id)
    if found is None:
        owner = {"owner_resource": f"{_OWNER}{deployment_id}"}
        await client.create_automation(automation.model_copy(update=owner))
    else:
        kept = automation.model_copy(update={"enabled": found.enabled})
        await client.update_automation(found.id, kept)


async def delete_trigger(client: PrefectClient, deployment_id: UUID) -> None:
    """Remove what would run a deployment that goes."""
    await client.delete_resource_owned_automations(f"{_OWNER}{deployment_id}")
