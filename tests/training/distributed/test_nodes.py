"""The meeting of nodes: who owns, who is there, who is lost, and what the others hear. No rank is started."""

import threading
from types import SimpleNamespace

import pytest

from transferflow.errors import InterruptedRunError, PlanError, TerminatedRunError, TrainingError
from transferflow.training.distributed import launch_nodes, nodes
from transferflow.training.distributed import meeting as meetings
from transferflow.training.distributed.addresses import Address, free_port, interface_of, parse_address
from transferflow.training.distributed.crashes import Crash
from transferflow.training.distributed.launch import Launch
from transferflow.training.distributed.meeting import Meeting, open_meeting
from transferflow.training.distributed.nodes import End, Joiner, Owner


@pytest.fixture
def address():
    return Address("127.0.0.1", free_port("127.0.0.1"))


@pytest.fixture
def owner(address, monkeypatch):
    for name in ("_SILENT_SECONDS", "_GOODBYE_SECONDS"):
        monkeypatch.setattr(nodes, name, 0.5)
    monkeypatch.setattr(nodes, "_POLL_SECONDS", 0.02)
    meeting = open_meeting(address, 5)
    assert meeting.is_host
    return Owner(meeting, 2, 0.7)


@pytest.fixture
def join(address, owner):
    """Another node; the first one to come owns the run, so this one never does."""

    def run():
        meeting = open_meeting(address, 5)
        assert not meeting.is_host
        return Joiner(meeting)

    return run


@pytest.mark.parametrize("text", ["host", "host:", ":29500", "host:0", "host:65536", "host:1.5", ""])
def test_what_is_no_address_is_refused(text):
    with pytest.raises(ValueError, match="HOST:PORT"):
        parse_address(text)


def test_addresses_are_read_and_written_alike():
    assert parse_address("gpu-1:29500") == Address("gpu-1", 29500)
    assert str(parse_address("[::1]:29500")) == "[::1]:29500"
    assert interface_of("127.0.0.1") == "lo"
    assert interface_of("192.0.2.1") is None
    with pytest.raises(PlanError, match="no such host"):
        open_meeting(Address("no-such-host.invalid", 1), 1)


def test_an_owner_that_does_not_come_is_waited_for_so_long_and_no_longer(address, monkeypatch):
    monkeypatch.setattr(meetings, "listen_at", lambda address: None)  # it is another machine's
    with pytest.raises(TrainingError, match=r"nobody answers at 127.0.0.1:\d+ after 0.3 s"):
        open_meeting(address, 0.3)


def test_nodes_that_do_not_come_are_waited_for_so_long_and_no_longer(owner):
    with pytest.raises(TrainingError, match=r"1 of 2 after 0\.7 s"):
        owner.begin()


def test_a_node_takes_part_and_hears_how_it_ended(owner, join):
    joiner = join()
    owner.announce({"train": {}})
    assert joiner.wait_for_terms()["nodes"] == 2
    joiner.enter()
    mine, its = owner.begin(), joiner.next_place()
    assert (mine.number, its.number, its.count) == (0, 1, 2)
    assert mine.endpoint == its.endpoint
    assert not owner.is_broken()
    joiner.report(End(Crash(1, -9, node="there")))
    owner._asked = 0.0  # it asks a few times a second
    assert owner.is_broken()
    (end,) = owner.finish_attempt()
    assert str(end.crash) == "the process of device 1 on there was ended by SIGKILL"
    assert joiner.is_over()
    owner.finish(TerminatedRunError("training was stopped after 1 of 3 epochs"))
    with pytest.raises(TerminatedRunError, match="after 1 of 3 epochs"):
        joiner.next_place()


def test_one_that_falls_silent_is_lost_and_another_takes_its_place(owner, join):
    silent = join()
    silent.enter()
    owner.begin()
    (end,) = owner.finish_attempt()
    assert "shows no sign of life" in str(end.crash)
    stopped, spare = join(), join()
    stopped.enter()
    stopped.leave("was stopped")
    places = []
    spare.enter()
    waiting = threading.Thread(target=lambda: places.append(spare.next_place()))
    waiting.start()
    owner.begin()
    waiting.join(5)
    assert [place.number for place in places] == [1]
    owner.finish()
    assert spare.next_place() is None


def test_an_owner_that_has_nothing_to_train_needs_nobody(owner, join):
    joiner = join()
    owner.finish()
    assert joiner.wait_for_terms() is None


def test_a_bug_of_the_owner_ends_the_others_too(owner, join):
    joiner = join()
    owner.finish(ZeroDivisionError())
    with pytest.raises(TrainingError, match="has ended on the node that owns it"):
        joiner.wait_for_terms()


def test_an_owner_that_says_nothing_any_more_is_gone(address, monkeypatch):
    monkeypatch.setattr(meetings, "PATIENCE_SECONDS", 0.2)

    class Silent:
        def check(self, names):
            threading.Event().wait(1.0)

    class Closed:
        def check(self, names):
            raise RuntimeError("Broken pipe")

    for store in (Silent(), Closed()):
        with pytest.raises(TrainingError, match="the node that owns the run is gone"):
            Joiner(Meeting(store, address, is_host=False)).wait_for_terms()


def test_ranks_that_were_stopped_have_not_come_to_their_end(monkeypatch):
    """Taken for the end, a training that is not finished would be kept as one that is."""
    stopped = InterruptedRunError("stopped by SIGTERM")
    alone = SimpleNamespace(begin=lambda: None, is_broken=lambda: False, finish_attempt=lambda: [End()])
    monkeypatch.setattr(launch_nodes, "_run", lambda *_: End(error=stopped))
    with pytest.raises(InterruptedRunError, match="stopped by SIGTERM"):
        launch_nodes.launch_as_owner(Launch((), 1, "cpu", max_restarts=1), {}, alone)
