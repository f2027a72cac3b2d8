import socket
import subprocess
import sys
import time
from urllib.request import urlopen

import pytest
from transferflow.pipelines.own_server import own_server

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
def test_it_answers_and_ends_with_the_block(tmp_path):
    with own_server(tmp_path) as url:
        assert urlopen(f"{url}/health", timeout=120).status == 200
    assert not is_listening(url)
    assert (tmp_path / "prefect.db").exists()


@pytest.mark.slow
def test_it_ends_when_its_owner_is_killed(tmp_path):
    owner = subprocess.Popen([sys.executable, "-c", STARTS_ONE, str(tmp_path)], stdout=subprocess.PIPE)
    url = owner.stdout.readline().decode().strip()
    assert is_listening(url)
    owner.kill()
    owner.wait()
    end = time.monotonic() + 60
    while is_listening(url):
        assert time.monotonic() < end
        time.sleep(0.1)
