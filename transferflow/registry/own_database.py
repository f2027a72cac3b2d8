"""The database of a home's own registry: made and migrated beside its place, and at home wherever it lies.

```
<home>/mlflow/mlflow.db        the database
<home>/mlflow/mlflow.version   the version of MLflow that made or migrated it
<home>/mlflow/mlflow.db.old    the database before its last migration
```
MLflow changes a database in steps that can't be undone: a process that is killed between two of them leaves
one that no version can open. So every step is done on a copy, which is renamed into place at the end.
"""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from importlib.metadata import version
from pathlib import Path

from transferflow.errors import RegistryError
from transferflow.logs import get_logger
from transferflow.registry.mlflow_client import build_client
from transferflow.store import write_atomic
from transferflow.store.databases import damage_of, open_database
from transferflow.store.files import name_beside
from transferflow.store.litter import litter_of

logger = get_logger("registry")

DATABASE, VERSION = "mlflow.db", "mlflow.version"
_LOCATIONS = (("experiments", "artifact_location"), ("runs", "artifact_uri"))
"""Columns in which MLflow keeps absolute paths of files."""


def is_ready(folder: Path) -> bool:
    """Whether the database is there, of the installed MLflow's version, and knows where it lies."""
    return _version_of(folder) == version("mlflow") and not _other_places(folder)


def require_whole(folder: Path) -> None:
    """Refuse a database that is damaged, before MLflow tries for minutes to open it.

    Raises:
        RegistryError: If it is damaged.
        OSError: If it is a folder.
        sqlite3.Error: If it can't be opened or read.
    """
    database = folder / DATABASE
    if database.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(database))
    if found := damage_of(database):
        raise _damaged(database, found)


def make_ready(folder: Path) -> None:
    """Make, migrate, mend or move the database as needed; the caller holds the registry's lock.

    Raises:
        RegistryError: If it is damaged, and holds models that can't be made anew by itself.
    """
    database = folder / DATABASE
    folder.mkdir(parents=True, exist_ok=True)
    for left in litter_of(database):
        left.unlink(missing_ok=True)  # of a process that was killed: this one holds the lock
    if not database.exists():
        _make(database)
    elif _version_of(folder) != version("mlflow"):
        _migrate(database)
    write_atomic(folder / VERSION, version("mlflow"))
    _move_along(folder)


def _make(database: Path) -> None:
    beside = name_beside(database)
    try:
        beside.touch()  # by the umask; sqlite would keep others of the group from writing
        build_client(f"sqlite:///{beside.as_posix()}")  # makes the tables
        beside.replace(database)
    finally:
        beside.unlink(missing_ok=True)


def _migrate(database: Path) -> None:
    """Bring a copy up to the installed MLflow, and put it in the place of the original."""
    beside = name_beside(database)
    try:
        shutil.copyfile(database, beside)
        problem = _upgrade(beside)
        if not problem:
            shutil.copyfile(database, database.with_name(f"{DATABASE}.old"))
            beside.replace(database)
            return
    finally:
        beside.unlink(missing_ok=True)
    if _holds_models(database):
        raise _damaged(database, problem)
    logger.warning("the registry's database was half made (%s): it holds no model and is made anew", problem)
    database.replace(database.with_name(f"{DATABASE}.broken"))
    _make(database)


def _upgrade(beside: Path) -> str:
    """Run MLflow's own migration; return what went wrong, or nothing."""
    command = [sys.executable, "-P", "-m", "mlflow", "db", "upgrade", f"sqlite:///{beside.as_posix()}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        return lines[-1][:300]
    try:
        build_client(f"sqlite:///{beside.as_posix()}").search_registered_models(max_results=1)
    except RegistryError as error:
        return error.problems[0].found
    return ""


def _holds_models(database: Path) -> bool:
    """Whether a database that can't be migrated has anything that would be lost."""
    try:
        with closing(open_database(database)) as connection:
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
            counted = [name for name in ("registered_models", "runs") if name in tables]
            return any(
                connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0]  # noqa: S608
                for name in counted
            )
    except sqlite3.Error:
        return True  # it can't be told


def _damaged(database: Path, found: str) -> RegistryError:
    return RegistryError(
        "the registry's database is damaged",
        where=str(database),
        found=found,
        hint=f"restore it from a copy, or move it away with `mv {database} {database}.broken`: finished "
        "trainings are reused, and their specs register them again",
    )


def _move_along(folder: Path) -> None:
    """Let every path in the database start where the home lies now; it was moved or copied."""
    for former in _other_places(folder):
        logger.info("registry: the home was at %s: its paths are led over to %s", former, folder)
        with closing(open_database(folder / DATABASE)) as connection, connection:
            for table, column in _LOCATIONS:
                connection.execute(
                    f"UPDATE {table} SET {column} = ? || substr({column}, ?) "  # noqa: S608
                    f"WHERE substr({column}, 1, ?) = ?",
                    (f"{folder}/", len(former) + 2, len(former) + 1, f"{former}/"),
                )


def _other_places(folder: Path) -> list[str]:
    """Folders in which the database believes to lie, other than its own."""
    try:
        with closing(open_database(folder / DATABASE)) as connection:
            rows = connection.execute("SELECT name, artifact_location FROM experiments").fetchall()
    except sqlite3.Error:
        return []  # damaged: who opens it says so
    endings = ((str(location), f"/artifacts/{name}") for name, location in rows)
    places = {location.removesuffix(end) for location, end in endings if location.endswith(end)}
    return sorted(places - {str(folder)})


def _version_of(folder: Path) -> str:
    try:
        return (folder / VERSION).read_text().strip()
    except OSError:
        return ""
