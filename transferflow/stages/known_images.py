"""The test images of a registered model: real images to hold an exported model against."""

from __future__ import annotations

from pathlib import Path

from transferflow.data.snapshot.build import load_snapshot
from transferflow.data.snapshot.manifest import read_rows
from transferflow.errors import RegistryError
from transferflow.registry.base import parse_reference
from transferflow.registry.names import is_reference
from transferflow.stages.context import RunContext


def find_test_images(model: str, context: RunContext) -> list[Path]:
    """Image files of the test split that a registered model was measured on.

    Args:
        model: `NAME`, `NAME@ALIAS` or `NAME/VERSION`.
        context: Surroundings.

    Raises:
        RegistryError: If they are not known here.
    """
    name, which = parse_reference(model)
    version = context.registry.lookup(name, which) if is_reference(name, which) else None
    key = version.tags.get("prepare_key") if version else None
    prepared = context.store.find("prepare", key or "none")
    files = [row.absolute_path for row in read_rows(load_snapshot(prepared.path), "test")] if prepared else []
    there = [file for file in files if file.is_file()]
    if not there:
        raise RegistryError(
            "the model's test images are not here",
            where=model,
            hint="name real images with --images: the exported model is held against PyTorch on them",
        )
    return there
