"""What may be called a model, an alias or a version."""

from __future__ import annotations

import re

from transferflow.errors import RegistryError

_MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,199}")
_ALIAS = re.compile(r"[\w-]{1,255}")


def is_reference(model: str, alias_or_version: str) -> bool:
    """Whether these may name a model's version."""
    return bool(_MODEL_NAME.fullmatch(model) and _ALIAS.fullmatch(alias_or_version))


def check_model(model: str) -> None:
    """Refuse what is no name of a model.

    Raises:
        RegistryError: If it is none.
    """
    if not _MODEL_NAME.fullmatch(model):
        raise RegistryError(
            "not a valid model name", found=repr(model), allowed="letters, digits, space, `.`, `_`, `-`"
        )


def check_alias(alias_or_version: str) -> None:
    """Refuse what is neither an alias nor a version.

    Raises:
        RegistryError: If it is neither.
    """
    if not _ALIAS.fullmatch(alias_or_version):
        raise RegistryError("not a valid alias or version", found=repr(alias_or_version))
