"""Whose a deployment is, and which state of a spec it runs.

A project is the folder in which its specs run. It is known by its git remote, so that all of its clones are
one project, and without one by the folder itself.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from transferflow.errors import FlowError
from transferflow.spec.load import read_document
from transferflow.spec.yaml.tree import plain
from transferflow.store import digest
from transferflow.text import without_secrets

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
_GIT_SECONDS = 20
_SHORT = 12


@dataclass(frozen=True)
class Project:
    """A folder of specs.

    Attributes:
        name: Stands before the spec's name in the names of its deployments.
        identity: What tells it from other projects of that name.
        folder: Where its specs run.
    """

    name: str
    identity: str
    folder: Path

    @property
    def tag(self) -> str:
        """Tag of its deployments."""
        return f"transferflow:{digest([self.identity, self.name])[:_SHORT]}"

    def deployment(self, spec: str) -> str:
        """Name of a spec's deployments."""
        return f"{self.name}.{spec}"


def find_project(folder: Path, name: str | None = None) -> Project:
    """Say which project a folder is.

    Args:
        folder: Where its specs run.
        name: What it is to be called; left out: as its repository, or as the folder.

    Raises:
        FlowError: If the name can't be one.
    """
    if name is not None and not _NAME.fullmatch(name):
        allowed = "lower-case letters, digits and hyphens, at most 64"
        raise FlowError("not a valid name of a project", where="--project", found=repr(name), allowed=allowed)
    remote = _git(folder, "remote", "get-url", "origin")
    below = _git(folder, "rev-parse", "--show-prefix").strip("/") if remote else ""
    identity = f"{without_secrets(remote)}#{below}" if remote else str(folder)
    called = Path(below or remote.removesuffix(".git").rstrip("/") or folder).name
    return Project(name or _slug(called), identity, folder)


def spec_digest(spec: Path) -> str:
    """sha256 over what a spec and the files that it extends say; comments and spelling do not count."""
    tree = read_document(spec).tree
    return digest(plain(tree)) if tree else ""


def spec_version(spec: Path) -> str:
    """The state of a spec, for people: its digest and the commit that last changed it.

    A `+` behind the commit says that the file was changed since.
    """
    short = spec_digest(spec)[:_SHORT]
    document = read_document(spec)
    files = [str(path) for path in (spec.absolute(), *document.bases)]
    commit = _git(spec.absolute().parent, "log", "-1", "--format=%H", "--", *files)
    if not commit:
        return short
    changed = _git(spec.absolute().parent, "status", "--porcelain", "--", *files)
    return f"{short}@{commit[:_SHORT]}{'+' if changed else ''}"


def require_pinned(spec: Path, sha256: str) -> None:
    """Refuse a spec that is not the one that was deployed.

    Raises:
        FlowError: If it says something else.
    """
    found = spec_digest(spec)
    if found != sha256:
        raise FlowError(
            "the spec is not the one that was deployed",
            where=str(spec),
            found=f"sha256 {found}" if found else "a file that can't be read",
            allowed=f"sha256 {sha256}",
            hint=f"deploy it as it is now: transferflow deploy {spec}",
        )


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:64] or "project"


def _git(folder: Path, *words: str) -> str:
    """What git says, or nothing where there is no git, no repository, or no answer."""
    command: Sequence[str] = ("git", "-C", str(folder), *words)
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_GIT_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
