"""No password and no token in a spec: it ends in the report, in the registry and in every bundle."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from transferflow.spec.sections.base import Found
from transferflow.spec.sections.whole import Sections
from transferflow.text import holds_secret

ADDRESS_MESSAGE = (
    "an address with a user, a password or a token: reports, registries and bundles keep the spec, and would "
    "show it. Leave it out: http(s) takes it from ~/.netrc, s3, gs and others from the environment or "
    "fsspec's configuration"
)


def _no_secrets(spec: Sections) -> Iterator[Found]:
    for path, text in _texts(spec.model_dump(mode="json", exclude_unset=True), ()):
        if holds_secret(text):
            yield path, ADDRESS_MESSAGE


def _texts(value: object, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Every text of the document, keys of free mappings among them, with its key path."""
    match value:
        case str():
            yield path, value
        case Mapping():
            for key, inner in value.items():
                yield (*path, key), key
                yield from _texts(inner, (*path, key))
        case list():
            for number, inner in enumerate(value):
                yield from _texts(inner, (*path, str(number)))


SECRET_RULES = (_no_secrets,)
