"""JSON documents that carry a hash of themselves, so that a changed bit is seen wherever they end up."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transferflow.store.files import digest, write_atomic

_SEAL = "sha256"


def write_sealed(path: Path, content: Mapping[str, Any], *, indent: int | None = None) -> None:
    """Write `content`, which has no key `sha256` of its own, with its hash under that key."""
    plain = json.loads(json.dumps(content))  # as it will be read: lists for tuples, texts for keys
    write_atomic(path, json.dumps(plain | {_SEAL: digest(plain)}, indent=indent))


def read_sealed(path: Path) -> dict[str, Any]:
    """Read what `write_sealed` wrote, without the hash.

    Raises:
        OSError: If the file can't be read.
        ValueError: If it is not what was written.
    """
    content = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise ValueError(f"{path.name} is not what was written")
    seal = content.pop(_SEAL, None)
    if digest(content) != seal:
        raise ValueError(f"{path.name} is not what was written")
    return content
