import logging
from contextlib import nullcontext

import pytest

from transferflow.errors import ChampionChangedError
from transferflow.registry.base import RegisteredVersion
from transferflow.registry.gate import Verdict, VerdictKind
from transferflow.stages.register import promote as stage
from transferflow.stages.register.decision import Decision
from transferflow.stages.register.standing import describe_standing, report_path


def version(number):
    return RegisteredVersion("colours", number, f"run{number}", (), {})


class Busy:
    """A registry in which others are promoted during the first comparisons."""

    def __init__(self, changes):
        self.changes, self.compared = changes, []

    def champion(self, model):
        return version(len(self.compared) + 1)

    def promoting(self, model):
        return nullcontext()

    def register(self, entry, verdict, replacing):
        self.compared.append(replacing.version)
        if len(self.compared) <= self.changes:
            raise ChampionChangedError("another run was promoted in the meantime")
        return version(9)


@pytest.fixture
def compare(monkeypatch, tmp_path):
    """Compare and register with a registry; return the verdicts that were written into the report."""

    def run(registry):
        written = []

        def decide(challenger, context, registry, champion, folder):
            return Decision(Verdict(VerdictKind.PROMOTE, (f"better than version {champion.version}",)))

        monkeypatch.setattr(stage, "decide", decide)
        monkeypatch.setattr(
            stage, "_write_report", lambda data, made, folder: written.append(made.verdict.reasons)
        )
        entry = type("Entry", (), {"model": "colours"})()
        found = stage._compare_and_register(None, None, registry, None, entry, tmp_path)
        return found, written

    return run


def test_another_champion_is_compared_with_by_itself(compare, caplog):
    registry = Busy(changes=2)
    with caplog.at_level(logging.INFO):
        found, written = compare(registry)
    assert found.version == 9
    assert registry.compared == [1, 2, 3]
    assert written[-1] == ("better than version 3",)
    assert caplog.text.count("comparing again") == 2


def test_it_is_compared_a_few_times_at_most(compare):
    registry = Busy(changes=100)
    with pytest.raises(ChampionChangedError):
        compare(registry)
    assert len(registry.compared) == stage.TRIES


def summary(**changes):
    return {
        "model": "colours",
        "version": 1,
        "verdict": "PROMOTE",
        "aliases": [],
        "champion": 3,
        "decided": "2026-01-01 00:00:00+00:00",
    } | changes


def test_a_verdict_that_no_longer_stands_is_said_so():
    assert describe_standing(summary()) == (
        "that was decided 2026-01-01 00:00:00+00:00; version 3 is champion today",
        "to go back to this version: transferflow models promote colours/1",
    )
    assert "no version is champion today" in describe_standing(summary(champion=None))[0]
    assert describe_standing(summary(aliases=["champion"])) == ()
    assert describe_standing(summary(verdict="HOLD")) == ()


def test_reports_of_two_registries_are_told_apart(tmp_path):
    own = report_path(tmp_path, "colours", 1, "the home's own")
    assert own == tmp_path / "colours" / "version-1.html"
    others = {report_path(tmp_path, "colours", 1, f"http://mlflow{n}") for n in range(2)}
    assert len(others | {own}) == 3
