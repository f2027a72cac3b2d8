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
    write_atomic(path, seal(content, indent=indent))


def seal(content: Mapping[str, Any], *, indent: int | None = None) -> str:
    """The document: `content`, which has no key `sha256` of its own, with its hash under that key."""
    plain = json.loads(json.dumps(content))  # as it will be read: lists for tuples, texts for keys
    return json.dumps(plain | {_SEAL: digest(plain)}, indent=indent)


def read_sealed(path: Path) -> dict[str, Any]:
    """Read what `write_sealed` wrote, without the hash.

    Raises:
        OSError: If the file can't be read.
        ValueError: If it is not what was written.
    """
    try:
        return unseal(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path.name} is not what was written") from error


def unseal(document: bytes) -> dict[str, Any]:
    """What was sealed, without the hash.

    Raises:
        ValueError: If it is not what was sealed.
    """
    content = json.loads(document)
    if not isinstance(content, dict):
        raise ValueError("not a sealed document")
    found = content.pop(_SEAL, None)
    if digest(content) != found:
        raise ValueError("not what was sealed")
    return content
