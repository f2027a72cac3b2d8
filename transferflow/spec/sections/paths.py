"""Paths that a spec may name."""

from __future__ import annotations

from pathlib import PurePosixPath, PureWindowsPath
from typing import Annotated

from pydantic import AfterValidator

from transferflow.objects import SCHEMES
from transferflow.spec.sections.base import Text


def _stays_inside(path: str) -> str:
    absolute = PurePosixPath(path).is_absolute() or PureWindowsPath(path).drive or path.startswith("\\")
    if absolute or ".." in PurePosixPath(path.replace("\\", "/")).parts:
        raise ValueError("the path must stay below `data.root`: no leading `/`, no `..`")
    if "\0" in path:
        raise ValueError("a path has no null character")
    return path


FILE_SCHEME = "file://"
ROOT_SCHEMES = (*SCHEMES, "file")


def _is_folder_or_address(root: str) -> str:
    scheme, found, rest = root.partition("://")
    if not found:
        return root
    if scheme not in ROOT_SCHEMES or "::" in root:
        kinds = ", ".join(f"{name}://" for name in ROOT_SCHEMES)
        raise ValueError(f"a data set is a folder, or an address with {kinds}")
    if not rest.strip("/") or (scheme == "file" and not rest.startswith("/")):
        raise ValueError("the address names no folder: `s3://bucket/folder`, `file:///folder`")
    return root


DataRoot = Annotated[Text, AfterValidator(_is_folder_or_address)]
BelowRoot = Annotated[Text, AfterValidator(_stays_inside)]
