"""The bytes of a spec file, bounded."""

from __future__ import annotations

from pathlib import Path

from transferflow.errors import Problem
from transferflow.limits import MAX_SPEC_BYTES


def read_file(path: Path, source: str) -> tuple[bytes, list[Problem]]:
    """Read a spec's bytes; on failure return the problem, never raise."""
    try:
        if path.is_dir():
            return b"", [Problem("is a folder, not a spec", source, hint="name a .yaml file in it")]
        if not path.is_file():
            what = "is not a regular file" if path.exists() else "there is no such file"
            return b"", [Problem(what, source)]
        with path.open("rb") as stream:
            data = stream.read(MAX_SPEC_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        return b"", [Problem(f"can't be read: {reason}", source)]
    if len(data) > MAX_SPEC_BYTES:
        return b"", [
            Problem("the file is too large for a spec", source, allowed=f"at most {MAX_SPEC_BYTES:,} bytes")
        ]
    return data, []
