import socket
import subprocess
import sys
import time

import pytest

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
    owner = subprocess.Popen(
        [sys.executable, "-c", STARTS_ONE, str(tmp_path / "new" / "home")], stdout=subprocess.PIPE
    )
    url = owner.stdout.readline().decode().strip()
    assert is_listening(url)
    owner.kill()
    owner.wait()
    end = time.monotonic() + 60
    while is_listening(url):
        assert time.monotonic() < end
        time.sleep(0.1)
