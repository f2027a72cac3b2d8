"""Where things lie in a home, for those who must know it before anything heavy is loaded."""

from __future__ import annotations

from pathlib import Path


def refresh_record(home: Path, name: str) -> Path:
    """File of what refreshing remembers of a spec."""
    return home / "refresh" / f"{name}.json"
