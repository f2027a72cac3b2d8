"""Artifacts that several homes share, in a folder of an object store: `TRANSFERFLOW_STORE=s3://bucket/folder`.

```
<address>/artifacts/<stage>/<key>.tar    an artifact, its record included: one object, whole or not there
<address>/history/<stage>/<name>.json    the last inputs seen for a spec name, as in a home
<address>/transferflow.json              says that this is one
```
A home is then what a machine holds of it: what it lacks is fetched and checked against its record, what it
makes is sent. What is registered stays with the home and the registry.
"""

from __future__ import annotations

import errno
import os
import shutil
import tarfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from transferflow.errors import StoreError
from transferflow.logs import get_logger
from transferflow.objects import SCHEMES, ObjectFolder
from transferflow.text import holds_secret, without_secrets

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

Answer = TypeVar("Answer")

logger = get_logger("store")

VARIABLE = "TRANSFERFLOW_STORE"
_OF_THE_HOME = ("register",)
_reached: set[str] = set()
"""Addresses that have answered this process."""


class SharedStore:
    """One folder of an object store.

    A store that has never answered is an error, as whoever set it wants no hours of training twice. One that
    stops answering later costs a warning: the run goes on with what its home has.
    """

    def __init__(self, address: str) -> None:
        """Name the folder; nothing is asked of the server yet.

        Raises:
            StoreError: If it is no address of an object store, or holds a password.
        """
        scheme, _, rest = address.partition("://")
        if scheme not in SCHEMES or not rest.strip("/") or "::" in address or holds_secret(address):
            raise StoreError(
                "not an address of a folder in an object store",
                where=VARIABLE,
                found=without_secrets(address),
                allowed=f"{', '.join(f'{name}://' for name in SCHEMES)}, without a user or password",
                hint="a folder on a disk that machines share is named by TRANSFERFLOW_HOME or --home",
            )
        self._folder = ObjectFolder(
            address.rstrip("/"),
            "the shared store",
            VARIABLE,
            StoreError,
            f"or unset {VARIABLE}: the home then stands alone",
        )
        self._opened: tuple[AbstractFileSystem, str] | None = None

    def holds(self, stage: str, key: str) -> bool:
        """Whether an artifact is there; whether it is whole is open."""
        if stage in _OF_THE_HOME:
            return False
        return self._ask(lambda system, folder: bool(system.exists(_packed(folder, stage, key))), False)

    def fetch(self, stage: str, key: str, beside: Path) -> Path | None:
        """Fetch an artifact and unpack it below an empty folder.

        Returns:
            Its folder, which is to be held against its record; `None` if there is no such artifact.
        """
        if stage in _OF_THE_HOME:
            return None
        packed, unpacked = beside / "artifact.tar", beside / "artifact"

        def fetch(system: AbstractFileSystem, folder: str) -> bool:
            with suppress(FileNotFoundError):
                system.get_file(_packed(folder, stage, key), str(packed))
                return True
            return False

        if not self._ask(fetch, False):
            return None
        _unpack(packed, unpacked)
        return unpacked

    def send(self, stage: str, key: str, artifact: Path, beside: Path) -> None:
        """Pack an artifact in an empty folder, and send it; one that belongs to the home alone is not."""
        if stage in _OF_THE_HOME:
            return
        packed = beside / "artifact.tar"
        with tarfile.open(packed, "w") as tar:
            tar.add(artifact, arcname=".")
        self._ask(
            lambda system, folder: system.put_file(str(packed), _packed(folder, stage, key)), otherwise=None
        )

    def last_inputs(self, stage: str, name: str) -> bytes | None:
        """The document with the last inputs of a stage for a spec name, if there is one."""

        def read(system: AbstractFileSystem, folder: str) -> bytes | None:
            with suppress(FileNotFoundError):
                return bytes(system.cat_file(_inputs(folder, stage, name)))
            return None

        return None if stage in _OF_THE_HOME else self._ask(read, None)

    def remember_inputs(self, stage: str, name: str, document: str) -> None:
        """Write the document with the last inputs of a stage for a spec name."""
        if stage not in _OF_THE_HOME:
            content = document.encode()
            self._ask(lambda system, folder: system.pipe_file(_inputs(folder, stage, name), content), None)

    def _ask(self, question: Callable[[AbstractFileSystem, str], Answer], otherwise: Answer) -> Answer:
        """Ask the store; what fails after a first answer is a warning, and answered by `otherwise`."""
        try:
            with self._folder.in_our_words():
                self._opened = self._opened or self._folder.open()
                if self._folder.address not in _reached:
                    _greet(*self._opened)
                answer = question(*self._opened)
        except StoreError as error:
            if self._folder.address not in _reached:
                raise
            logger.warning("going on without the shared store: %s", error)
            return otherwise
        _reached.add(self._folder.address)
        return answer


def shared_store() -> SharedStore | None:
    """What `TRANSFERFLOW_STORE` names, if it is set.

    Raises:
        StoreError: If it is no address of an object store.
    """
    address = os.environ.get(VARIABLE)
    return SharedStore(address) if address else None


def _greet(system: AbstractFileSystem, folder: str) -> None:
    """See that the store is there before anything depends on it: the first user leaves a note for others."""
    note = f"{folder}/transferflow.json"
    try:
        system.cat_file(note)
    except FileNotFoundError:  # of the note or of the bucket, which the writing tells apart
        system.pipe_file(note, b'{"layout": 1}')


def _packed(folder: str, stage: str, key: str) -> str:
    return f"{folder}/artifacts/{stage}/{key}.tar"


def _inputs(folder: str, stage: str, name: str) -> str:
    return f"{folder}/history/{stage}/{name}.json"


def _unpack(packed: Path, target: Path) -> None:
    """Unpack files and folders, all below `target`; what an archive may hold beside them is damage."""
    target.mkdir()
    try:
        with tarfile.open(packed, "r:") as tar:  # as it is sent: what is compressed may be endless
            for member in tar:
                if member.isfile() or member.isdir():
                    tar.extract(member, target, filter="data")
    except (tarfile.TarError, EOFError, ValueError, FileExistsError, NotADirectoryError, IsADirectoryError):
        shutil.rmtree(target)  # nothing of it can be believed
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        shutil.rmtree(target)
    finally:
        packed.unlink()
