from __future__ import annotations

import hashlib
import importlib.util
import os
import threading
import time

import pytest

from transferflow.errors import MissingDependencyError, WeightsError
from transferflow.models.weights.downloads import Patience, download

CONTENT = os.urandom(300_000)
SHA = hashlib.sha256(CONTENT).hexdigest()
QUICK = Patience(timeout=0.3, tries=3, pause=0.01)


@pytest.fixture
def served(loopback):
    loopback.files["/weights.pth"] = CONTENT
    return loopback


def fetch(served, folder, **values):
    options = {"sha256": SHA, "patience": QUICK} | values
    return download(f"{served.url}/weights.pth", folder / "weights.pth", **options)


def test_a_file_comes_whole_with_progress(served, tmp_path):
    seen = []
    path = fetch(served, tmp_path, progress=lambda done, total: seen.append((done, total)))
    assert path.read_bytes() == CONTENT
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert not list(tmp_path.glob("*.part"))


def test_a_second_ask_downloads_nothing(served, tmp_path):
    fetch(served, tmp_path)
    fetch(served, tmp_path)
    assert len(served.asked) == 1


def test_a_cut_is_resumed_where_it_happened(served, tmp_path):
    served.cut_after = [100_000, 50_000]
    assert fetch(served, tmp_path).read_bytes() == CONTENT
    assert [wanted for *_, wanted in served.asked] == [None, "bytes=100000-", "bytes=150000-"]


def test_a_part_of_an_earlier_run_is_resumed(served, tmp_path):
    served.cut_after = [100_000]
    with pytest.raises(WeightsError, match="the connection was cut"):
        fetch(served, tmp_path, patience=Patience(timeout=1, tries=1, pause=0))
    assert (tmp_path / "weights.pth.part").stat().st_size == 100_000
    assert fetch(served, tmp_path).read_bytes() == CONTENT
    assert served.asked[-1][2] == "bytes=100000-"


def test_a_server_without_ranges_starts_over(served, tmp_path):
    served.ranges = False
    served.cut_after = [100_000]
    assert fetch(served, tmp_path).read_bytes() == CONTENT


def test_a_server_without_ranges_that_cuts_anywhere_is_left(served, tmp_path):
    served.ranges = False
    served.cut_after = [100_000, 50_000] * 20
    with pytest.raises(WeightsError, match="the connection was cut"):
        fetch(served, tmp_path)
    assert len(served.asked) == QUICK.tries


def test_another_range_than_asked_for_is_not_appended(served, tmp_path):
    served.shift = 10
    served.cut_after = [100_000]
    assert fetch(served, tmp_path).read_bytes() == CONTENT
    assert [wanted for *_, wanted in served.asked] == [None, "bytes=100000-", None]
    (tmp_path / "weights.pth").unlink()
    served.cut_after = [100_000, 0] * 20
    with pytest.raises(WeightsError, match="asked for the bytes from 100000 on"):
        fetch(served, tmp_path, patience=Patience(timeout=1, tries=2, pause=0))


def test_a_login_comes_from_netrc_and_is_never_shown(served, tmp_path, monkeypatch):
    (tmp_path / "netrc").write_text('machine 127.0.0.1 login user password "se cret"\n')
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    url, options = served.url, {"sha256": SHA, "patience": QUICK}
    assert download(f"{url}/weights.pth", tmp_path / "w.pth", **options).read_bytes() == CONTENT
    assert served.authorizations == ["Basic dXNlcjpzZSBjcmV0"]  # what `curl -u "user:se cret"` sends
    with pytest.raises(WeightsError, match=f"{served.url}/nothing: (.|\n)*HTTP 404(.|\n)*netrc") as caught:
        download(f"{url}/nothing", tmp_path / "x.pth", **options)
    with pytest.raises(WeightsError, match="not the one") as wrong:
        download(f"{url}/weights.pth", tmp_path / "y.pth", sha256="0" * 8, patience=QUICK)
    assert "cret" not in f"{caught.value}{wrong.value}"


def test_only_what_has_come_is_said_to_be_kept(served, tmp_path):
    with pytest.raises(WeightsError) as nothing:
        download(f"{served.url}/nothing", tmp_path / "x.pth", sha256=SHA, patience=QUICK)
    served.cut_after = [100_000]
    with pytest.raises(WeightsError) as cut:
        fetch(served, tmp_path, patience=Patience(timeout=1, tries=1, pause=0))
    served.cut_after = [100_000]
    with pytest.raises(WeightsError) as unknown:
        fetch(served, tmp_path / "2", sha256=None, patience=Patience(timeout=1, tries=1, pause=0))
    assert ["is kept" in str(error.value) for error in (nothing, cut, unknown)] == [False, True, False]


def test_a_folder_that_is_none(served, tmp_path):
    (tmp_path / "home").write_text("a file")
    with pytest.raises(WeightsError, match=r"can't be written(.|\n)*TORCH_HOME"):
        fetch(served, tmp_path / "home" / "hub")


def test_no_address_at_all(tmp_path):
    with pytest.raises(WeightsError, match="could not be downloaded"):
        download("http://[nothing/x.pth", tmp_path / "x.pth", sha256=SHA, patience=QUICK)


def test_a_part_of_another_file_is_thrown_away(served, tmp_path):
    (tmp_path / "weights.pth.part").write_bytes(os.urandom(1000))
    assert fetch(served, tmp_path).read_bytes() == CONTENT
    (tmp_path / "weights.pth").unlink()
    (tmp_path / "weights.pth.part").write_bytes(os.urandom(len(CONTENT) + 5))
    assert fetch(served, tmp_path).read_bytes() == CONTENT


def test_a_wrong_hash_is_refused_and_nothing_is_kept(served, tmp_path):
    with pytest.raises(WeightsError, match=f"sha256 {SHA[:12]}"):
        fetch(served, tmp_path, sha256="0" * 8)
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".lock"] == []


def test_a_missing_file_is_refused_at_once(served, tmp_path):
    with pytest.raises(WeightsError, match="HTTP 404"):
        download(f"{served.url}/nothing", tmp_path / "nothing", sha256=None, patience=QUICK)
    assert len(served.asked) == 1


def test_a_server_in_trouble_is_asked_again(served, tmp_path):
    served.statuses = [503, 500]
    assert fetch(served, tmp_path).read_bytes() == CONTENT
    served.statuses = [503, 503, 503]
    (tmp_path / "weights.pth").unlink()
    with pytest.raises(WeightsError, match="HTTP 503"):
        fetch(served, tmp_path)


def test_a_slow_server_is_borne_with_as_long_as_something_comes(served, tmp_path):
    served.pause, served.piece = 0.1, 60_000
    assert fetch(served, tmp_path).read_bytes() == CONTENT
    assert len(served.asked) == 1


def test_a_stalled_server_is_left(served, tmp_path):
    served.pause = 5
    start = time.monotonic()
    with pytest.raises(WeightsError, match=r"(?i)timed out"):
        fetch(served, tmp_path, patience=Patience(timeout=0.2, tries=2, pause=0.01))
    assert time.monotonic() - start < 3


def test_nobody_there(tmp_path):
    with pytest.raises(WeightsError, match=r"(?i)refused"):
        download("http://127.0.0.1:9/x.pth", tmp_path / "x.pth", sha256=None, patience=QUICK)


def test_several_processes_may_ask_at_once(served, tmp_path):
    served.pause, served.piece = 0.01, 30_000
    threads = [threading.Thread(target=fetch, args=(served, tmp_path)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "weights.pth").read_bytes() == CONTENT
    assert len(served.asked) == 1


def test_other_schemes_go_through_fsspec(tmp_path):
    import fsspec

    with fsspec.open("memory://bucket/weights.pth", "wb") as stream:
        stream.write(CONTENT)
    path = download("memory://bucket/weights.pth", tmp_path / "w.pth", sha256=SHA)
    assert path.read_bytes() == CONTENT
    with pytest.raises(WeightsError, match="no such file"):
        download("memory://bucket/other.pth", tmp_path / "o.pth", sha256=SHA)
    with pytest.raises(WeightsError, match="nosuchscheme"):
        download("nosuchscheme://bucket/other.pth", tmp_path / "o.pth", sha256=SHA)
    if importlib.util.find_spec("s3fs") is None:
        with pytest.raises(MissingDependencyError, match=r"s3://"):
            download("s3://bucket/other.pth", tmp_path / "o.pth", sha256=SHA)
