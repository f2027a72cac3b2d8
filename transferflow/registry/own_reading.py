"""A home's own registry, read from its database: to import MLflow takes longer than all else of a reused run.

Only reads, only tables of the installed MLflow (`own_database.is_ready`), and whatever is not as expected
raises, so that MLflow itself is asked.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from transferflow.errors import RegistryError
from transferflow.registry.base import RegisteredVersion
from transferflow.registry.mlflow_run import TAG_PREFIX
from transferflow.registry.own_database import DATABASE, require_whole
from transferflow.store.databases import open_database

_WORKSPACE = "default"
_DIGITS = 18  # of a number that SQLite can hold
_TABLES = ("registered_model_aliases", "model_versions", "model_version_tags")
_DELETED = "Deleted_Internal"  # as mlflow.entities.model_registry.model_version_stages calls it


def reads_well(folder: Path) -> bool:
    """Whether the database is whole and has the tables that are read here."""
    try:
        require_whole(folder)
        with closing(open_database(folder / DATABASE)) as connection:
            for table in ("registered_models", *_TABLES):
                connection.execute(f"SELECT workspace, name FROM {table} LIMIT 1").fetchall()  # noqa: S608
    except (RegistryError, OSError, sqlite3.Error):
        return False
    return True


def look_up_own(folder: Path, model: str, alias_or_version: str) -> RegisteredVersion | None:
    """The version with this alias or number; `None` where there is none, or no such model.

    Raises:
        sqlite3.Error: If the database can't be read, or has other tables.
    """
    with closing(open_database(folder / DATABASE)) as connection:
        place = (_WORKSPACE, model)
        rows = connection.execute(
            "SELECT alias, version FROM registered_model_aliases WHERE workspace = ? AND name = ?", place
        )
        aliases = {str(alias): str(version) for alias, version in rows}
        named = aliases.get(alias_or_version, alias_or_version)
        if not named.isdecimal() or len(named) > _DIGITS:
            return None
        number = int(named)
        found = connection.execute(
            "SELECT run_id FROM model_versions WHERE workspace = ? AND name = ? AND version = ?"
            " AND current_stage <> ?",
            (*place, number, _DELETED),
        ).fetchone()
        if found is None:
            return None
        tags = connection.execute(
            "SELECT key, value FROM model_version_tags WHERE workspace = ? AND name = ? AND version = ?",
            (*place, number),
        )
        ours = {str(k).removeprefix(TAG_PREFIX): str(v) for k, v in tags if str(k).startswith(TAG_PREFIX)}
    return RegisteredVersion(
        model=model,
        version=number,
        run_id=str(found[0] or ""),
        aliases=tuple(sorted(alias for alias, version in aliases.items() if version == str(number))),
        tags=ours,
        created=False,
    )
