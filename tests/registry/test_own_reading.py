"""What is read from the database of a home's registry is what MLflow itself says, and loads no MLflow."""

import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest

from transferflow.errors import RegistryError
from transferflow.registry.gate import Verdict, VerdictKind
from transferflow.registry.mlflow_versions import look_up
from transferflow.registry.own_reading import look_up_own, reads_well

PROMOTE, HOLD = (Verdict(kind, ("a reason",)) for kind in (VerdictKind.PROMOTE, VerdictKind.HOLD))


@pytest.fixture
def filled(registry, make_entry):
    """A registry with a champion, a challenger and a deleted version, and the folder of its database."""
    first = registry.register(make_entry(key="a1"), PROMOTE, None)
    registry.register(make_entry(key="a2"), HOLD, first)
    registry.register(make_entry(key="a3"), HOLD, first)
    with registry.session() as client:
        client.delete_model_version("chest-xray", "2")
    return registry, registry._folder


def _of_mlflow(registry, model, which):
    with registry.session() as client:
        return look_up(client, model, which)


def test_it_says_what_mlflow_says(filled):
    registry, folder = filled
    for which in ("champion", "reference", "challenger", "nobody", "1", "2", "3", "4"):
        assert look_up_own(folder, "chest-xray", which) == _of_mlflow(registry, "chest-xray", which)
    assert look_up_own(folder, "chest-xray", "champion").version == 1
    assert look_up_own(folder, "chest-xray", "2") is None
    assert look_up_own(folder, "chest-xray", "9" * 40) is None
    assert look_up_own(folder, "other", "1") is None


LOOK = """
import sys
from pathlib import Path
from transferflow.registry.mlflow_registry import MlflowRegistry
registry = MlflowRegistry(Path(sys.argv[1]))
registry.check()
print(registry.champion("chest-xray").version, "mlflow" in sys.modules)
"""


def test_to_look_for_the_champion_loads_no_mlflow(filled):
    _, folder = filled
    words = [sys.executable, "-c", LOOK, str(folder.parent)]
    assert subprocess.run(words, capture_output=True, text=True, check=True).stdout.split() == ["1", "False"]


def test_tables_that_it_does_not_know_are_left_to_mlflow(filled, monkeypatch):
    registry, folder = filled
    assert reads_well(folder)
    with closing(sqlite3.connect(folder / "mlflow.db")) as connection, connection:
        connection.execute("ALTER TABLE model_version_tags RENAME COLUMN workspace TO area")
    assert not reads_well(folder)
    asked = []
    monkeypatch.setattr("transferflow.registry.mlflow_registry.look_up", lambda *given: asked.append(given))
    assert registry.champion("chest-xray") is None
    assert len(asked) == 1


def test_a_damaged_database_does_not_read_well(filled):
    _, folder = filled
    (folder / "mlflow.db").write_bytes(b"no database" * 1000)
    assert not reads_well(folder)


def _change(folder, statement):
    with closing(sqlite3.connect(folder / "mlflow.db")) as connection, connection:
        connection.execute("PRAGMA foreign_keys = OFF")
        connection.execute(statement)


@pytest.mark.parametrize("value", ["'abc'", "x'ff01'", "1.5", "-1", "99"])
def test_an_alias_that_leads_nowhere_is_none_and_can_be_set_again(filled, value):
    registry, folder = filled
    _change(folder, f"UPDATE registered_model_aliases SET version = {value} WHERE alias = 'champion'")
    assert registry.champion("chest-xray") is None
    assert [version.aliases for version in registry.versions("chest-xray")] == [
        ("challenger",),
        ("reference",),
    ]
    registry.promote(registry.find("chest-xray", "1"), "by hand")
    assert registry.champion("chest-xray").version == 1


def test_a_version_that_is_no_number_is_an_error_of_the_registry(registry, make_entry):
    registry.register(make_entry(key="a1"), PROMOTE, None)
    _change(registry._folder, "UPDATE model_versions SET version = 'two'")
    with pytest.raises(RegistryError, match=r"refused or did not answer\n.*'two'"):
        registry.versions("chest-xray")
