"""Reading and making MLflow's registered models and versions."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from transferflow.errors import RegistryError
from transferflow.registry.base import RegisteredVersion
from transferflow.registry.mlflow_run import TAG_PREFIX

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion, RegisteredModel

MISSING = "RESOURCE_DOES_NOT_EXIST"
EVALUATION_KEY = "evaluation_key"
THERE = "RESOURCE_ALREADY_EXISTS"
SHOWN = 10
"""Versions that a message lists."""


def registered_model(client: MlflowClient, model: str) -> RegisteredModel | None:
    """The registered model, or `None` when there is no such model."""
    from mlflow.exceptions import MlflowException

    try:
        return client.get_registered_model(model)
    except MlflowException as error:
        if error.error_code == MISSING:
            return None
        raise


def version_of(client: MlflowClient, model: str, number: str) -> RegisteredVersion | None:
    """The version with this number, or `None` when there is none."""
    from mlflow.exceptions import MlflowException

    try:
        return read_version(client.get_model_version(model, number), created=False)
    except MlflowException as error:
        if error.error_code == MISSING:
            return None
        raise


def look_up(client: MlflowClient, model: str, alias_or_version: str) -> RegisteredVersion | None:
    """The version with this alias or number, or `None` when there is none (or no such model)."""
    registered = registered_model(client, model)
    if registered is None:
        return None
    number = str(registered.aliases.get(alias_or_version, alias_or_version))
    return version_of(client, model, number) if number.isdecimal() else None


def aliased(client: MlflowClient, model: str, alias: str) -> RegisteredVersion | None:
    """The version with this alias, or `None` when there is none (or no such model)."""
    registered = registered_model(client, model)
    number = str(registered.aliases.get(alias, "")) if registered else ""
    return version_of(client, model, number) if number.isdecimal() else None


def experiment_of(client: MlflowClient, model: str, artifacts: str | None) -> str:
    """Id of the experiment that keeps a model's runs, made or restored where needed.

    Args:
        client: Of the registry.
        model: Name of the registered model.
        artifacts: Folder of its files; `None` lets the server decide.
    """
    from mlflow.exceptions import MlflowException

    try:
        return str(client.create_experiment(model, artifacts))
    except MlflowException as error:
        if error.error_code != THERE:
            raise
    experiment = client.get_experiment_by_name(model)
    if experiment is None:
        raise RegistryError(f"the experiment {model!r} was removed just now")
    if experiment.lifecycle_stage == "deleted":
        client.restore_experiment(experiment.experiment_id)
    return str(experiment.experiment_id)


def ensure_model(client: MlflowClient, model: str) -> None:
    """Make the registered model unless it is there."""
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(model)
    except MlflowException as error:
        if error.error_code != THERE:
            raise


def versions_tagged(client: MlflowClient, model: str, tag: str, key: str) -> list[RegisteredVersion]:
    """Versions with this stage key as a tag, oldest first; a search has no aliases, so each is read again."""
    if not key.isalnum():
        raise RegistryError("not a valid key of a stage", found=repr(key))
    found = client.search_model_versions(f"name='{model}' and tags.`{TAG_PREFIX}{tag}`='{key}'")
    numbers = sorted(int(each.version) for each in found)
    return [read_version(client.get_model_version(model, str(n)), created=False) for n in numbers]


def all_versions(client: MlflowClient, model: str) -> list[RegisteredVersion]:
    """Every version of a model with its aliases, the newest first."""
    registered = registered_model(client, model)
    aliases: dict[int, list[str]] = {}
    for alias, number in (registered.aliases if registered else {}).items():
        if str(number).isdecimal():  # it may have been written by hand, and leads nowhere then
            aliases.setdefault(int(number), []).append(alias)
    found = []
    page = client.search_model_versions(f"name='{model}'")
    found += [*page]
    while page.token:
        page = client.search_model_versions(f"name='{model}'", page_token=page.token)
        found += [*page]
    versions = [read_version(each, created=False) for each in found]
    ordered = sorted(versions, key=lambda version: -version.version)
    return [replace(v, aliases=tuple(sorted(aliases.get(v.version, ())))) for v in ordered]


def references_of(client: MlflowClient, model: RegisteredModel) -> list[str]:
    """What names a version of the model: its aliases, then the newest numbers, the newest first."""
    found = client.search_model_versions(
        f"name='{model.name}'", max_results=SHOWN + 1, order_by=["version_number DESC"]
    )
    numbers = sorted((int(each.version) for each in found), reverse=True)
    aliases = [f"{model.name}@{alias}" for alias in sorted(model.aliases)]
    shown = [f"{model.name}/{number}" for number in numbers[:SHOWN]]
    return [*aliases, *shown, *(["…"] if numbers[SHOWN:] else [])]


def read_version(version: ModelVersion, *, created: bool) -> RegisteredVersion:
    """MLflow's version in our words, with just our own tags."""
    ours = {k.removeprefix(TAG_PREFIX): v for k, v in version.tags.items() if k.startswith(TAG_PREFIX)}
    return RegisteredVersion(
        model=str(version.name),
        version=int(version.version),
        run_id=str(version.run_id or ""),
        aliases=tuple(sorted(version.aliases)),
        tags=ours,
        created=created,
    )
