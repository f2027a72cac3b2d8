import socket
import sqlite3
import subprocess
import sys
import time

import pytest
from transferflow.pipelines.own_server import _set_damage_aside

STARTS_ONE = """
import sys, time
from pathlib import Path
from transferflow.pipelines.own_server import own_server
with own_server(Path(sys.argv[1])) as url:
    print(url, flush=True)
    time.sleep(600)
"""


def is_listening(url):
    port = int(url.split(":")[2].split("/")[0])
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.slow
def test_it_ends_when_its_owner_is_killed(tmp_path):
    (tmp_path / "calendar.py").write_text("raise SystemExit('the module of somebody else')\n")
    words = [sys.executable, "-P", "-c", STARTS_ONE, str(tmp_path / "new" / "home")]
    owner = subprocess.Popen(words, stdout=subprocess.PIPE, cwd=tmp_path)
    url = owner.stdout.readline().decode().strip()
    assert is_listening(url)
    owner.kill()
    owner.wait()
    end = time.monotonic() + 60
    while is_listening(url):
        assert time.monotonic() < end
        time.sleep(0.1)


def test_a_damaged_history_of_flows_is_set_aside_and_begun_anew(tmp_path, caplog):
    database = tmp_path / "prefect.db"
    connection = sqlite3.connect(database)
    connection.execute("CREATE TABLE flow (id TEXT)")
    connection.execute("INSERT INTO flow VALUES ('a')")
    connection.commit()
    connection.close()
    whole = database.read_bytes()
    _set_damage_aside(database)
    assert database.read_bytes() == whole
    for damaged in (b"no database at all" * 200, whole[:4096] + b"\xff" * (len(whole) - 4096)):
        database.write_bytes(damaged)
        database.with_name("prefect.db-wal").write_bytes(b"x")
        _set_damage_aside(database)
        assert not database.exists()
        assert not database.with_name("prefect.db-wal").exists()
        assert database.with_name("prefect.db.broken").read_bytes() == damaged
    assert caplog.text.count("is set aside and begun anew") == 2
    _set_damage_aside(database)  # there is none
    assert not database.exists()
