"""Content-addressed artifacts: one folder per key, hashed, locked, written beside and renamed into place."""

from transferflow.store.artifacts import Artifact, ArtifactStore
from transferflow.store.files import (
    default_home,
    digest,
    file_digest,
    folder_beside,
    known_digest,
    open_regular,
    read_bounded,
    sync_folder,
    write_atomic,
)
from transferflow.store.locks import BusyError
from transferflow.store.sealed import read_sealed, write_sealed

__all__ = [
    "Artifact",
    "ArtifactStore",
    "BusyError",
    "default_home",
    "digest",
    "file_digest",
    "folder_beside",
    "known_digest",
    "open_regular",
    "read_bounded",
    "read_sealed",
    "sync_folder",
    "write_atomic",
    "write_sealed",
]
