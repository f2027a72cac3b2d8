"""What a person does with registered versions: look through them, go back, delete, and mend."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from transferflow.errors import RegistryError
from transferflow.registry.base import (
    CHAMPION,
    REFERENCE,
    AuditEvent,
    RegisteredVersion,
)
from transferflow.registry.mlflow_audit import note_event, read_trail
from transferflow.registry.mlflow_promotion import promote_by_hand, settle_version
from transferflow.registry.mlflow_registry import MlflowRegistry
from transferflow.registry.mlflow_versions import version_of

if TYPE_CHECKING:
    from mlflow import MlflowClient

_TEST = "test/"


class MlflowKeeping:
    """The person's side of a registry.

    Args:
        registry: The registry.
    """

    def __init__(self, registry: MlflowRegistry) -> None:
        self._registry = registry

    def models(self) -> list[str]:
        """Names of all registered models, sorted."""
        if self._registry.is_empty:
            return []
        names: list[str] = []
        with self._registry.session() as client:
            page = client.search_registered_models()
            names += [str(found.name) for found in page]
            while page.token:
                page = client.search_registered_models(page_token=page.token)
                names += [str(found.name) for found in page]
        return sorted(names)

    def versions(self, model: str) -> list[RegisteredVersion]:
        """Every version of a model, the newest first.

        Raises:
            RegistryError: If there is no such model, or the registry does not answer.
        """
        found = self._registry.versions(model)
        if not found and model not in self.models():
            self._registry.find(model)  # says what there is
        return found

    def measured(self, version: RegisteredVersion) -> Mapping[str, float]:
        """The metrics on the test images, by name; the ends of intervals as `<name>_low`, `<name>_high`."""
        with self._registry.session() as client:
            found = client.get_run(version.run_id).data.metrics if version.run_id else {}
        return {name.removeprefix(_TEST): value for name, value in found.items() if name.startswith(_TEST)}

    def trail(self, model: str) -> tuple[AuditEvent, ...]:
        """Who became champion when and why, oldest first."""
        if self._registry.is_empty:
            return ()
        with self._registry.session() as client:
            return read_trail(client, model)

    def rollback(self, model: str, reason: str) -> tuple[RegisteredVersion, RegisteredVersion]:
        """Make the version champion that the present one replaced; a second time, the one before that.

        Returns:
            The champion, and the one that it was before.

        Raises:
            RegistryError: If it is not known which one that was, or it is gone.
        """
        champion = self._registry.find(model)
        registry = self._registry
        with registry.promoting(model), registry.session() as client, registry.writing():
            former = self._former(client, champion)
            back = promote_by_hand(client, former, reason, action="rolled back")
        return back, champion

    def _former(self, client: MlflowClient, champion: RegisteredVersion) -> RegisteredVersion:
        number = decide_former(read_trail(client, champion.model), champion.version)
        former = version_of(client, champion.model, str(number)) if number is not None else None
        if former is None:
            missing = "nothing came before it" if number is None else f"version {number}, which is gone"
            raise RegistryError(
                "there is no version to go back to",
                where=champion.uri,
                found=missing,
                hint=f"name one: `transferflow models promote {champion.model}/VERSION`",
            )
        return former

    def delete(self, version: RegisteredVersion, reason: str) -> None:
        """Delete a version and its run; the trail keeps that it was there.

        Raises:
            RegistryError: If the champion or the reference is meant: something else has to take its place.
        """
        held = [alias for alias in (CHAMPION, REFERENCE) if alias in version.aliases]
        if held:
            raise RegistryError(
                f"the {held[0]} can't be deleted",
                where=version.uri,
                hint=f"first make another the champion: `transferflow models rollback {version.model}`",
            )
        registry = self._registry
        with registry.promoting(version.model), registry.session() as client, registry.writing():
            note_event(client, version.model, "deleted", version=version.version, reason=reason)
            client.delete_model_version(version.model, str(version.version))
            if version.run_id:
                client.delete_run(version.run_id)

    def repair(self, model: str) -> list[RegisteredVersion]:
        """Carry out the verdicts of versions that a kill left half registered.

        Returns:
            The versions that were settled.
        """
        registry = self._registry
        unsettled = [version for version in self.versions(model) if version.is_half_made]
        if not unsettled:
            return []
        with registry.promoting(model), registry.session() as client, registry.writing():
            # Oldest first, as they would have been settled.
            return [settle_version(client, version) for version in reversed(unsettled)]


def decide_former(trail: tuple[AuditEvent, ...], champion: int) -> int | None:
    """Number of the version that the champion replaced when it was promoted, not merely gone back to."""
    for event in reversed(trail):
        if event.version == champion and event.action == "promoted":
            return event.replaced
    return None
