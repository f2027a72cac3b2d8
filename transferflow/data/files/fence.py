"""Where the files of a data set may really lie: below its root, and where the spec lets its links lead."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from transferflow.data.remote.address import is_remote, without_scheme
from transferflow.errors import DataError


@dataclass(frozen=True)
class Fence:
    """What a data set is read from.

    Attributes:
        root: Its folder, resolved.
        links: Folders outside it that links in it may lead to, resolved.
    """

    root: Path
    links: tuple[Path, ...] = ()

    def holds(self, path: str | Path) -> bool:
        """Whether a path, its links followed, stays inside."""
        try:
            real = Path(path).resolve()
        except (OSError, RuntimeError):  # RuntimeError: a loop of links
            return False
        return any(real.is_relative_to(folder) for folder in (self.root, *self.links))


def build_fence(root: str, links: Sequence[str], base: Path | None = None) -> Fence:
    """Resolve the spec's paths, relative to `base` or the working directory; an address becomes a local copy.

    Raises:
        DataError: If one of them is no folder, or can't be fetched.
    """
    return Fence(
        _root(root, base),
        tuple(
            _folder(link, base, "data.link_roots", "name the folder that the links lead to") for link in links
        ),
    )


def _root(root: str, base: Path | None) -> Path:
    if is_remote(root):
        from transferflow.data.remote.copies import local_copy  # threads and locks, which a folder needs not

        return local_copy(root)
    hint = "set data.root to the folder that holds the data"
    return _folder(without_scheme(root), base, "data.root", hint)


def _folder(name: str, base: Path | None, key: str, hint: str) -> Path:
    asked = (base or Path.cwd()) / Path(name).expanduser()
    if not asked.is_dir():
        what = "is not a folder" if asked.exists() else "does not exist"
        raise DataError(
            f"the data folder {what}",
            where=key,
            found=str(asked.absolute()),
            hint=f"{hint}; it is relative to where the command runs",
        )
    return asked.resolve()
