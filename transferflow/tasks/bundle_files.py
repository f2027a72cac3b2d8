"""The files of a bundle, held against the hashes that it carries; loads no torch.

```
weights.safetensors   every parameter and buffer
model.json            classes, the whole spec with its defaults, the eval transform, the least score;
                      a hash of the weights and of itself
```
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transferflow.errors import StoreError
from transferflow.store import known_digest, read_sealed, write_sealed

FORMAT = 2
WEIGHTS, DESCRIPTION = "weights.safetensors", "model.json"


def write_description(folder: Path, description: Mapping[str, Any]) -> None:
    """Write `model.json` beside weights that are there already."""
    content = {"format": FORMAT, **description, "weights": known_digest(folder / WEIGHTS)}
    write_sealed(folder / DESCRIPTION, content, indent=2)


def read_description(folder: Path) -> dict[str, Any]:
    """Read `model.json` and hold both files against their hashes, the weights once per process.

    Raises:
        StoreError: If the folder is no bundle, of another version, or not what was written.
    """
    try:
        description = read_sealed(folder / DESCRIPTION)
        if description.get("format") != FORMAT:
            raise StoreError(
                "the bundle was written by another version",
                where=str(folder),
                found=f"format {description.get('format')}",
                allowed=f"format {FORMAT}",
            )
        if known_digest(folder / WEIGHTS) != description["weights"]:
            raise ValueError(f"{WEIGHTS} is not what was written")
    except FileNotFoundError as error:
        raise StoreError(
            f"no model bundle: {Path(error.filename).name} is missing",
            where=str(folder),
            allowed=f"a folder with {DESCRIPTION} and {WEIGHTS}",
        ) from error
    except (OSError, ValueError, KeyError, RecursionError) as error:
        raise StoreError(
            "the model bundle is damaged",
            where=str(folder),
            found=str(error)[:500],
            hint="run its spec again: what is damaged is made anew",
        ) from error
    return description
