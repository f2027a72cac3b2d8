"""What became of a registered version since its verdict: aliases and champion as they are today."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transferflow.registry.base import CHAMPION, OWN, ModelRegistry
from transferflow.store import digest


def standing_today(registry: ModelRegistry, registered: Mapping[str, Any]) -> dict[str, Any]:
    """Aliases of the version, and who is champion.

    Args:
        registry: Where the version is.
        registered: Its `registration.json`.

    Returns:
        `aliases`, `is_champion`, and `champion`, the champion's number or `None`.
    """
    version = registry.lookup(registered["model"], str(registered["version"]))
    champion = registry.champion(registered["model"])
    aliases = version.aliases if version else ()
    return {
        "aliases": list(aliases),
        "is_champion": CHAMPION in aliases,
        "champion": champion.version if champion else None,
    }


def describe_standing(summary: Mapping[str, Any]) -> tuple[str, ...]:
    """Say what a former verdict no longer says, and how to go back; nothing where it still stands.

    Args:
        summary: Summary of the register stage.
    """
    if summary["verdict"] != "PROMOTE" or CHAMPION in summary["aliases"]:
        return ()
    champion = summary["champion"]
    today = "no version is champion today" if champion is None else f"version {champion} is champion today"
    reference = f"{summary['model']}/{summary['version']}"
    return (
        f"that was decided {summary['decided']}; {today}",
        f"to go back to this version: transferflow models promote {reference}",
    )


def report_path(folder: Path, model: str, version: int, registry: str) -> Path:
    """Where the report of a version is kept for people.

    Args:
        folder: Folder of the reports.
        model: Name of the registered model.
        version: Its version.
        registry: Identity of the registry; versions of another one than the home's have numbers of their own.
    """
    elsewhere = "" if registry == OWN else f"-{digest(registry)[:8]}"
    return folder / model / f"version-{version}{elsewhere}.html"
