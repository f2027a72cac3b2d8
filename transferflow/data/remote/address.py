"""What `data.root` says: a folder of this machine, or an address."""

from __future__ import annotations

from pathlib import Path

from transferflow.spec.sections.paths import FILE_SCHEME


def is_remote(root: str) -> bool:
    """Whether it is an address of something else than this machine's disks."""
    return "://" in root and not root.startswith(FILE_SCHEME)


def without_scheme(root: str) -> str:
    """The path of a `file://` address; any other root as it is."""
    return root.removeprefix(FILE_SCHEME)


def shown_root(root: str, folder: Path) -> str:
    """How a person calls the data set: by its address, or else by the folder that it was found to be."""
    return root if is_remote(root) else str(folder)
