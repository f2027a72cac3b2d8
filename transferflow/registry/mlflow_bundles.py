"""The bundle of a version on this machine: where MLflow keeps it, or downloaded; mended where damaged."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import url2pathname

from transferflow.errors import RegistryError, StoreError
from transferflow.logs import get_logger
from transferflow.registry.base import RegisteredVersion
from transferflow.registry.mlflow_run import BUNDLE, TAG_PREFIX
from transferflow.store import ArtifactStore, digest, folder_beside, write_atomic
from transferflow.tasks.bundle_files import read_description

if TYPE_CHECKING:
    from mlflow import MlflowClient

logger = get_logger("registry")

_TRAINED = "train_key"
_OUR_SOURCE = re.compile(r"runs:/([A-Za-z0-9][\w-]{0,255})/bundle")


def run_of(client: MlflowClient, version: RegisteredVersion, location: str) -> str:
    """Id of the run that keeps the version's bundle.

    Raises:
        RegistryError: If the version is not one of transferflow's, or the run is that of another training.
    """
    source = str(client.get_model_version(version.model, str(version.version)).source)
    match = _OUR_SOURCE.fullmatch(source)
    if match is None:
        raise no_bundle(version, location, f"its source is {source!r}")
    made, kept = version.tags.get(_TRAINED), client.get_run(match[1]).data.tags.get(TAG_PREFIX + _TRAINED)
    if made and kept and made != kept:
        hint = "register it again: `transferflow run SPEC` with the spec that it came from"
        raise no_bundle(version, location, f"its source {source!r} is of another training", hint)
    return match[1]


def local_bundle(client: MlflowClient, run_id: str) -> Path | None:
    """Folder in which the run keeps its bundle, if it is one of this machine's."""
    root = _local_path(str(client.get_run(run_id).info.artifact_uri))
    return root / BUNDLE if root else None


def downloaded_bundle(
    client: MlflowClient, run_id: str, version: RegisteredVersion, location: str, downloads: Path
) -> Path:
    """Folder with a copy of the bundle; the copy is fetched again where it is damaged."""
    final = downloads / digest([location, version.model, version.version, run_id])
    if not is_whole(final / BUNDLE):
        shutil.rmtree(final, ignore_errors=True)
        with folder_beside(final) as beside:
            client.download_artifacts(run_id, BUNDLE, str(beside))
            root = beside.resolve()
            if not all(path.resolve().is_relative_to(root) for path in beside.rglob("*")):
                raise no_bundle(version, location, "a file that lies outside of its folder")
            beside.rename(final)
    return final / BUNDLE


def is_whole(folder: Path) -> bool:
    """Whether the folder holds a bundle that is what was written."""
    try:
        read_description(folder)
    except StoreError:
        return False
    return True


def mend_bundle(folder: Path, version: RegisteredVersion, home: Path) -> bool:
    """Write a damaged bundle anew from the training that it came from, if that is in the store.

    Returns:
        Whether it could be done.
    """
    trained = ArtifactStore(home).find("train", version.tags.get(_TRAINED, "none"))
    if trained is None:
        return False
    logger.warning("registry: the bundle of %s is damaged and is written anew", version.uri)
    for file in sorted(path for path in trained.path.rglob("*") if path.is_file()):
        write_atomic(folder / file.relative_to(trained.path), file.read_bytes())
    return True


@contextmanager
def reading_bundle(version: RegisteredVersion, location: str) -> Iterator[None]:
    """Say of which version a bundle is that can't be read."""
    try:
        yield
    except StoreError as error:
        problem = error.problems[0]
        raise no_bundle(version, location, f"{problem.what} ({problem.where})", problem.hint) from error


def no_bundle(version: RegisteredVersion, location: str, found: str, hint: str = "") -> RegistryError:
    """The error that a version has no bundle to use."""
    return RegistryError(
        "this model version has no bundle that transferflow can read",
        where=f"{version.uri} in {location}",
        found=found,
        allowed="versions that `transferflow run` registered",
        hint=hint,
    )


def _local_path(uri: str) -> Path | None:
    match urlsplit(uri).scheme:
        case "":
            return Path(uri)
        case "file":
            return Path(url2pathname(urlsplit(uri).path))
        case _:
            return None
