"""The files that a run needs, once they are known: which are missing, and what names them in a key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from transferflow.models.weights.files import (
    LocalFile,
    PackageFile,
    Url,
    WeightFile,
    find_weights,
    is_offline,
    missing_error,
)
from transferflow.models.weights.lock import locked_sha256
from transferflow.store import known_digest


@dataclass(frozen=True)
class NeededWeights:
    """The weights files of a spec.

    Attributes:
        start: The file that training starts from; `None` for a random start.
        files: All files that a run reads.
    """

    start: WeightFile | None
    files: tuple[WeightFile, ...]


def missing_among(files: Sequence[WeightFile], *, offline: bool = False) -> tuple[WeightFile, ...]:
    """The files that have to be downloaded first.

    Raises:
        WeightsError: If some are not here and can't be downloaded; names each of them.
    """
    absent = tuple(file for file in files if find_weights(file) is None)
    lost = [f for f in absent if is_offline(offline) or isinstance(f.location, LocalFile | PackageFile)]
    if lost:
        raise missing_error(*lost)
    return absent


def weights_identity(needed: NeededWeights) -> Mapping[str, str]:
    """What names the very weights in a stage's key: their address, and the hash where one is known.

    `DEFAULT` may mean another file in another version of a library, and a local file may change its content.
    With a lock file, every file has the hash that is locked.

    Raises:
        WeightsError: If the lock file has no entry for one of the files.
    """
    hashes = {file.address: locked_sha256(file) for file in needed.files}
    own = _own_identity(needed.start)
    return {**own, **{address: sha256 for address, sha256 in hashes.items() if sha256}}


def _own_identity(file: WeightFile | None) -> Mapping[str, str]:
    if file is None:
        return {}
    match file.location:
        case Url(sha256=sha256):
            return {file.address: sha256 or ""}
        case LocalFile():
            path = find_weights(file)
            return {file.tag: "" if path is None else known_digest(path)}
        case _:
            return {file.address: ""}
