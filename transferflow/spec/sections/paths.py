"""Paths that a spec may name."""

from __future__ import annotations

from pathlib import PurePosixPath, PureWindowsPath
from typing import Annotated

from pydantic import AfterValidator

from transferflow.spec.sections.base import Text


def _stays_inside(path: str) -> str:
    absolute = PurePosixPath(path).is_absolute() or PureWindowsPath(path).drive or path.startswith("\\")
    if absolute or ".." in PurePosixPath(path.replace("\\", "/")).parts:
        raise ValueError("the path must stay below `data.root`: no leading `/`, no `..`")
    if "\0" in path:
        raise ValueError("a path has no null character")
    return path


BelowRoot = Annotated[Text, AfterValidator(_stays_inside)]
