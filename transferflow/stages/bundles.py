"""From what a person calls a model to its bundle."""

from __future__ import annotations

from pathlib import Path

from transferflow.errors import RegistryError
from transferflow.registry.base import parse_reference
from transferflow.registry.names import is_reference
from transferflow.stages.context import RunContext
from transferflow.tasks.bundle import Bundle, load_for_answers
from transferflow.tasks.bundle_files import DESCRIPTION
from transferflow.training.device import pick_device


def find_bundle(model: str, context: RunContext) -> Path:
    """Resolve a bundle folder, `NAME`, `NAME@ALIAS` or `NAME/VERSION` to a bundle folder.

    Raises:
        RegistryError: If it is none of these.
    """
    folder = Path(model)
    if (folder / DESCRIPTION).is_file():
        return folder
    registry, (name, which) = context.registry, parse_reference(model)
    if not folder.is_dir():
        return registry.bundle(registry.find(name, which))
    # A folder may well have the name of a model; only one that is no model either is a mistake.
    found = registry.lookup(name, which) if is_reference(name, which) else None
    if found is None:
        raise RegistryError(
            "the folder is no model bundle, and no model has its name",
            where=model,
            allowed=f"a folder with {DESCRIPTION}, or a model's name",
            hint="`transferflow run SPEC` registers a model under the spec's name",
        )
    return registry.bundle(found)


def identify_model(model: str, context: RunContext) -> str:
    """Which model goes by this name now: the URI of its version, or the folder of its bundle.

    Raises:
        RegistryError: If there is none.
    """
    folder = Path(model)
    if (folder / DESCRIPTION).is_file():
        return str(folder)
    return context.registry.find(*parse_reference(model)).uri


def open_model(model: str, context: RunContext) -> Bundle:
    """Load the model that `find_bundle` resolves, on the best device there is."""
    return load_for_answers(find_bundle(model, context), pick_device("auto"))
