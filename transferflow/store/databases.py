"""Whether an sqlite file is whole: who opens a damaged one may try for minutes."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def open_database(database: Path) -> sqlite3.Connection:
    """Open a database that is there.

    Raises:
        sqlite3.Error: If it can't be opened.
    """
    return sqlite3.connect(f"{database.as_uri()}?mode=rw", uri=True)


def damage_of(database: Path) -> str:
    """What is damaged in a database; empty where nothing is.

    Raises:
        sqlite3.Error: If it can't be opened or read for another reason.
    """
    try:
        with closing(open_database(database)) as connection:
            found = str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF not in _DAMAGED:
            raise
        return str(error)
    return "" if found == "ok" else found.splitlines()[-1]
