"""The node that owns a run, and those that join it: who is there, which attempt is on, how it ended.

```
member-1          who has joined, by the number of its arrival; beat-1 goes up while it lives
terms             what is trained, and from what, for those who come to compare
attempt           the attempt that is on: the place of each member, and where the agents find each other
end-3-1           how attempt 3 ended on member 1; over-3: it is over
outcome           the run needs nobody any more
```
"""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from transferflow.errors import InterruptedRunError, TrainingError, TransferflowError
from transferflow.logs import get_logger
from transferflow.training.distributed.addresses import Place, free_port, own_address_towards
from transferflow.training.distributed.crashes import Crash
from transferflow.training.distributed.exchange import error_as_json, error_from_json
from transferflow.training.distributed.meeting import PATIENCE_SECONDS, Meeting

logger = get_logger("training")

_POLL_SECONDS = 0.25
_SECONDS_BETWEEN_LINES = 60.0
_SILENT_SECONDS = 5.0
"""A node that says nothing for so long, where there is something to say, is gone."""
_GOODBYE_SECONDS = 5.0


@dataclass(frozen=True)
class End:
    """How an attempt ended on one node.

    Attributes:
        crash: Of a rank, if there was one.
        error: What a rank raised, if it did.
    """

    crash: Crash | None = None
    error: TransferflowError | None = None

    @property
    def is_good(self) -> bool:
        """Whether its ranks came to their end."""
        return self.crash is None and self.error is None


@dataclass
class _Pulse:
    """What was last heard of a member, by this machine's clock."""

    beat: int
    heard: float

    def silence(self, beat: int) -> float:
        """Seconds without a sign of life."""
        if beat != self.beat:
            self.beat, self.heard = beat, time.monotonic()
        return time.monotonic() - self.heard


@dataclass
class Owner:
    """The node that owns a run: it waits for the others, and tells them what to do.

    Attributes:
        meeting: Where they meet.
        count: Nodes, this one included.
        timeout: Seconds to wait for them.
    """

    meeting: Meeting
    count: int
    timeout: float
    _pulses: dict[int, _Pulse] = field(default_factory=dict)
    _members: dict[int, str] = field(default_factory=dict)
    _attempt: int = 0
    _asked: float = 0.0
    _is_finished: bool = False

    def announce(self, terms: Mapping[str, Any]) -> None:
        """Say what is trained, for the others to compare."""
        self.meeting.put("terms", dict(terms) | {"nodes": self.count})

    def begin(self) -> Place:
        """Wait until enough nodes are there, and begin an attempt; this node's place in it.

        Raises:
            TrainingError: If they do not come in time.
        """
        members = self._wait_for_members()
        self._attempt += 1
        self._members = {number: found["name"] for number, found in members.items()}
        first = next(iter(members.values()))
        address = own_address_towards(first["address"], self.meeting.address.port)
        endpoint = f"[{address}]" if ":" in address else address
        endpoint = f"{endpoint}:{free_port(address)}"
        places = {str(number): at for at, number in enumerate(members, 1)}
        on = {"number": self._attempt, "places": places, "endpoint": endpoint, "count": self.count}
        self.meeting.put("attempt", on)
        return Place(0, self.count, endpoint, address)

    def is_broken(self) -> bool:
        """Whether the attempt can't come to its end, as a member is gone or has ended otherwise."""
        if time.monotonic() - self._asked < _POLL_SECONDS:
            return False
        self._asked = time.monotonic()
        ends = [self._end_of(number) for number in self._members]
        return any(end is not None and not end.is_good for end in ends) or any(
            self._lost(number, PATIENCE_SECONDS) for number in self._members
        )

    def finish_attempt(self) -> list[End]:
        """Say that the attempt is over, and learn how it ended on the others."""
        self.meeting.put(f"over-{self._attempt}", True)
        ends: dict[int, End] = {}
        deadline = time.monotonic() + PATIENCE_SECONDS
        while len(ends) < len(self._members) and time.monotonic() < deadline:
            for number in self._members.keys() - ends.keys():
                lost, end = self._lost(number, _SILENT_SECONDS), self._end_of(number)
                if lost:
                    crash = Crash(0, 1, node=self._members[number], lost=lost)
                    ends[number] = End(crash)
                elif end is not None:
                    ends[number] = end
            time.sleep(_POLL_SECONDS)
        return list(ends.values())

    def finish(self, error: BaseException | None = None) -> None:
        """Say that nobody is needed any more, and why; wait a moment for the others to hear it."""
        if self._is_finished:
            return
        self._is_finished = True
        known = error if isinstance(error, TransferflowError) else None
        if error is not None and known is None:
            stopped = not isinstance(error, Exception)
            kind = InterruptedRunError if stopped else TrainingError
            known = kind("the run has ended on the node that owns it", hint="look at what is said there")
        self.meeting.put("outcome", {"error": None if known is None else error_as_json(known)})
        deadline = time.monotonic() + _GOODBYE_SECONDS
        while self._present(_SILENT_SECONDS) and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)

    def _wait_for_members(self) -> dict[int, dict[str, str]]:
        """The members that are there, by the number of their arrival: as many as are needed."""
        needed, started, told = self.count - 1, time.monotonic(), float("-inf")
        while True:
            there = self._present(_SILENT_SECONDS)
            if len(there) >= needed:
                return dict(list(there.items())[:needed])
            now = time.monotonic()
            if now - started > self.timeout:
                raise self._not_all(len(there))
            if now - told > _SECONDS_BETWEEN_LINES:
                told = now
                logger.info(
                    "nodes: %d of %d are there; waiting at %s",
                    len(there) + 1,
                    self.count,
                    self.meeting.address,
                )
            time.sleep(_POLL_SECONDS)

    def _not_all(self, there: int) -> TrainingError:
        return TrainingError(
            "not all nodes came",
            where="--nnodes",
            found=f"{there + 1} of {self.count} after {self.timeout:g} s at {self.meeting.address}",
            hint="give the same command on all of them; --rdzv-timeout waits longer",
        )

    def _present(self, patience: float) -> dict[int, dict[str, str]]:
        found: dict[int, dict[str, str]] = {}
        for number in range(1, self.meeting.count("arrivals") + 1):
            member = self.meeting.find(f"member-{number}")
            if member is not None and not self._lost(number, patience):
                found[number] = member
        return found

    def _end_of(self, number: int) -> End | None:
        told = self.meeting.find(f"end-{self._attempt}-{number}")
        if told is None:
            return None
        crash = None if told["crash"] is None else Crash(**told["crash"])
        return End(crash, None if told["error"] is None else error_from_json(told["error"]))

    def _lost(self, number: int, patience: float) -> str:
        """Why a member is gone; empty while it is there."""
        left = self.meeting.find(f"left-{number}")
        if left is not None:
            return str(left)
        beat = self.meeting.count(f"beat-{number}")
        pulse = self._pulses.setdefault(number, _Pulse(beat, time.monotonic()))
        return "is gone: it shows no sign of life" if pulse.silence(beat) > patience else ""


@dataclass
class Joiner:
    """A node that joins a run that another one owns.

    Attributes:
        meeting: Where they meet.
    """

    meeting: Meeting
    _number: int = 0
    _done: int = 0
    _asked: float = 0.0

    def wait_for_terms(self) -> dict[str, Any] | None:
        """What is trained; `None` if the owner needs nobody.

        Raises:
            TransferflowError: What has ended the run there.
        """
        while not self._is_finished():
            terms: dict[str, Any] | None = self.meeting.find("terms")
            if terms is not None:
                return terms
            time.sleep(_POLL_SECONDS)
        return None

    def enter(self) -> None:
        """Become a member: the terms are this node's, too."""
        self._number = self.meeting.count("arrivals", 1)
        self._beat()
        member = {"name": socket.gethostname(), "address": self.meeting.own_address}
        self.meeting.put(f"member-{self._number}", member)

    def next_place(self) -> Place | None:
        """Wait for an attempt that needs this node; `None` if there will be none.

        Raises:
            TransferflowError: What has ended the run.
        """
        while not self._is_finished():
            self._beat()
            on = self.meeting.find("attempt")
            if on is not None and on["number"] > self._done and str(self._number) in on["places"]:
                self._done = on["number"]
                place = on["places"][str(self._number)]
                return Place(place, on["count"], on["endpoint"], self.meeting.own_address)
            time.sleep(_POLL_SECONDS)
        return None

    def is_over(self) -> bool:
        """Whether there is nothing left to do in this attempt; also shows that this node lives."""
        if time.monotonic() - self._asked < _POLL_SECONDS:
            return False
        self._asked = time.monotonic()
        self._beat()
        return self.meeting.find(f"over-{self._done}") is not None or self._outcome() is not None

    def report(self, end: End) -> None:
        """Tell how the attempt ended here."""
        crash = None if end.crash is None else asdict(end.crash)
        error = None if end.error is None else error_as_json(end.error)
        self.meeting.put(f"end-{self._done}-{self._number}", {"crash": crash, "error": error})

    def leave(self, why: str) -> None:
        """Tell that this node is not to be counted on any more."""
        if self._number:
            self.meeting.put(f"left-{self._number}", why)

    def _beat(self) -> None:
        self.meeting.count(f"beat-{self._number}", 1)

    def _outcome(self) -> dict[str, Any] | None:
        outcome: dict[str, Any] | None = self.meeting.find("outcome")
        return outcome

    def _is_finished(self) -> bool:
        outcome = self._outcome()
        if outcome is None:
            return False
        self.leave("has heard that the run is over")
        if outcome["error"] is not None:
            raise error_from_json(outcome["error"])
        return True
