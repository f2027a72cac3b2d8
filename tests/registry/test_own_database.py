import logging
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing

import pytest
from sqlalchemy import create_engine

from transferflow.errors import MachineError, RegistryError
from transferflow.registry.gate import Verdict, VerdictKind
from transferflow.registry.mlflow_client import answered
from transferflow.registry.mlflow_registry import MlflowRegistry
from transferflow.registry.own_database import is_ready, make_ready

PROMOTE = Verdict(VerdictKind.PROMOTE, ("good",))


@pytest.fixture(scope="module")
def filled_home(tmp_path_factory, make_shared_entry):
    """A home with one registered version."""
    home = tmp_path_factory.mktemp("filled")
    MlflowRegistry(home).register(make_shared_entry(), PROMOTE, None)
    return home


@pytest.fixture
def home(filled_home, tmp_path, monkeypatch):
    """A copy of it, as somebody makes one: all paths in its database lead to the original."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return shutil.copytree(filled_home, tmp_path / "home")


def paths_in(home):
    database = sqlite3.connect(home / "mlflow" / "mlflow.db")
    found = database.execute("SELECT artifact_uri FROM runs").fetchall()
    found += database.execute("SELECT artifact_location FROM experiments WHERE name != 'Default'").fetchall()
    database.close()
    return [path for (path,) in found]


@pytest.mark.parametrize("name", ["moved", "100 % & 'more'"])
def test_a_home_that_was_moved_or_copied_works(home, make_shared_entry, tmp_path, name):
    here = home.rename(tmp_path / name)
    registry = MlflowRegistry(here)
    bundle = registry.bundle(registry.find("chest-xray"))
    assert bundle.is_relative_to(here)
    assert all(path.startswith(f"{here}/mlflow/artifacts/chest-xray") for path in paths_in(here))
    second = registry.register(make_shared_entry(key="f" * 64), PROMOTE, registry.champion("chest-xray"))
    assert registry.bundle(second).is_relative_to(here)


def test_the_original_of_a_copied_home_stays_as_it_is(home, filled_home, make_shared_entry):
    before = sorted(filled_home.rglob("*"))
    registry = MlflowRegistry(home)
    registry.register(make_shared_entry(key="f" * 64), PROMOTE, registry.champion("chest-xray"))
    assert sorted(filled_home.rglob("*")) == before
    assert MlflowRegistry(filled_home).champion("chest-xray").version == 1


def test_a_database_of_another_mlflow_is_migrated_beside_its_place(home):
    (home / "mlflow" / "mlflow.version").write_text("3.0.0")
    assert not is_ready(home / "mlflow")
    assert MlflowRegistry(home).champion("chest-xray").version == 1
    assert is_ready(home / "mlflow")
    assert (home / "mlflow" / "mlflow.db.old").exists()


def test_a_half_made_database_without_models_is_made_anew(tmp_path, caplog):
    from mlflow.store.tracking.dbmodels.initial_models import Base

    folder = tmp_path / "mlflow"
    folder.mkdir()
    engine = create_engine(f"sqlite:///{folder}/mlflow.db")
    Base.metadata.create_all(engine)
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE metrics")  # no migration starts from here
    engine.dispose()
    with caplog.at_level(logging.WARNING):
        MlflowRegistry(tmp_path).check()
    assert "half made" in caplog.text
    assert (folder / "mlflow.db.broken").exists()
    assert is_ready(folder)


def test_a_damaged_database_with_models_is_named_and_kept(home):
    database = home / "mlflow" / "mlflow.db"
    content = database.read_bytes()
    database.write_bytes(content[: len(content) // 2])
    (home / "mlflow" / "mlflow.version").unlink()
    with pytest.raises(RegistryError, match=r"(?s)database is damaged.*mv .*mlflow\.db\.broken"):
        MlflowRegistry(home).check()
    assert database.exists()
    shutil.move(database, f"{database}.broken")
    assert MlflowRegistry(home).champion("chest-xray") is None


@pytest.mark.parametrize("damage", [lambda raw: b"?" + raw[1:], lambda raw: raw[:50_000]])
def test_a_database_that_is_damaged_later_is_named_before_anything_is_trained(home, damage):
    MlflowRegistry(home).check()
    database = home / "mlflow" / "mlflow.db"
    database.write_bytes(damage(database.read_bytes()))
    with pytest.raises(RegistryError, match=r"(?s)database is damaged.*mv .*mlflow\.db\.broken"):
        MlflowRegistry(home).check()


def test_a_folder_in_the_place_of_the_database_is_no_registry_that_does_not_answer(home):
    MlflowRegistry(home).check()
    database = home / "mlflow" / "mlflow.db"
    database.unlink()
    database.mkdir()
    started = time.monotonic()
    with pytest.raises(MachineError, match="a folder stands where a file should be"):
        MlflowRegistry(home).check()
    assert time.monotonic() - started < 20  # MLflow itself tries for 100 s


def test_a_full_disk_is_no_refusal_of_the_registry(tmp_path):
    engine = create_engine(f"sqlite:///{tmp_path}/small.db")

    def fill():
        with answered("sqlite:///small.db"), engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA max_page_count = 2")
            connection.exec_driver_sql("CREATE TABLE large (value BLOB)")
            connection.exec_driver_sql("INSERT INTO large VALUES (zeroblob(1000000))")

    with pytest.raises(MachineError, match="the disk is full"):
        fill()


MAKE = """
import sys
from pathlib import Path
from transferflow.registry.own_database import make_ready
import mlflow.store.db.utils
print("ready", flush=True)
make_ready(Path(sys.argv[1]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("after", [0.1, 0.6])
def test_a_kill_during_the_first_register_leaves_nothing_half_made(tmp_path, after):
    folder = tmp_path / "mlflow"
    process = subprocess.Popen([sys.executable, "-c", MAKE, folder], stdout=subprocess.PIPE)
    process.stdout.readline()
    time.sleep(after)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (folder / "mlflow.db").exists() or is_ready(folder) or not (folder / "mlflow.version").exists()
    make_ready(folder)
    assert is_ready(folder)
    assert sorted(path.name for path in folder.iterdir()) == ["mlflow.db", "mlflow.version"]


def test_an_error_of_the_database_is_told_once_and_without_a_traceback(home, caplog, capfd):
    registry = MlflowRegistry(home)
    assert registry.versions("chest-xray")
    with closing(sqlite3.connect(home / "mlflow" / "mlflow.db")) as database, database:
        database.execute("ALTER TABLE model_versions RENAME TO gone")
    with pytest.raises(RegistryError, match="no such table: model_versions"):
        registry.versions("chest-xray")
    assert not [record for record in caplog.records if record.name.startswith("mlflow")]
    assert "Traceback" not in capfd.readouterr().err
