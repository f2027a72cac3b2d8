import pytest

from transferflow.errors import RegistryError
from transferflow.registry.base import AuditEvent
from transferflow.registry.gate import Verdict, VerdictKind
from transferflow.registry.mlflow_keeping import MlflowKeeping, decide_former

PROMOTE = Verdict(VerdictKind.PROMOTE, ("good",))
NOT_WORSE = Verdict(VerdictKind.PROMOTE, ("not worse",), sets_reference=False)
HOLD = Verdict(VerdictKind.HOLD, ("not surely better",))
REJECT = Verdict(VerdictKind.REJECT, ("worse",))


@pytest.fixture
def keeping(registry):
    return MlflowKeeping(registry)


def champions(registry, make_entry, *verdicts):
    """Register a version per verdict, each compared with the champion of its day."""
    for number, verdict in enumerate(verdicts, 1):
        registry.register(make_entry(key=f"a{number}"), verdict, registry.champion("chest-xray"))


def test_versions_are_listed_with_their_aliases_and_metrics(registry, keeping, make_entry):
    assert keeping.models() == []
    champions(registry, make_entry, PROMOTE, HOLD)
    registry.register(make_entry(key="b1", model="another"), REJECT, None)
    assert keeping.models() == ["another", "chest-xray"]
    second, first = keeping.versions("chest-xray")
    assert (second.version, second.aliases, first.aliases) == (2, ("challenger",), ("champion", "reference"))
    assert keeping.measured(first) == {"accuracy": 0.9, "accuracy_low": 0.8, "accuracy_high": 0.95}
    with pytest.raises(RegistryError, match="no model 'chest-xrays'"):
        keeping.versions("chest-xrays")


def test_the_reference_stays_where_nothing_was_better(registry, make_entry):
    champions(registry, make_entry, PROMOTE, NOT_WORSE, NOT_WORSE)
    assert registry.champion("chest-xray").version == 3
    assert registry.find("chest-xray", "reference").version == 1
    champions(registry, make_entry, PROMOTE, NOT_WORSE, NOT_WORSE, PROMOTE)
    assert registry.find("chest-xray", "reference").version == 4


def test_each_step_back_goes_one_champion_further(registry, keeping, make_entry):
    champions(registry, make_entry, PROMOTE, PROMOTE, HOLD, PROMOTE)
    back, before = keeping.rollback("chest-xray", "wrong labels")
    assert (back.version, before.version, back.aliases) == (2, 4, ("champion", "reference"))
    assert keeping.rollback("chest-xray", "still wrong")[0].version == 1
    with pytest.raises(RegistryError, match="no version to go back to"):
        keeping.rollback("chest-xray", "")
    assert [(e.action, e.version, e.replaced) for e in keeping.trail("chest-xray")] == [
        ("promoted", 1, None),
        ("promoted", 2, 1),
        ("promoted", 4, 2),
        ("rolled back", 2, 4),
        ("rolled back", 1, 2),
    ]
    assert {e.by for e in keeping.trail("chest-xray")[:3]} == {"gate"}


def test_a_version_that_is_gone_is_no_way_back(registry, keeping, make_entry):
    champions(registry, make_entry, PROMOTE, PROMOTE)
    keeping.delete(registry.find("chest-xray", "1"), "too old")
    assert registry.lookup("chest-xray", "1") is None
    assert keeping.trail("chest-xray")[-1].reason == "too old"
    with pytest.raises(RegistryError, match="version 1, which is gone"):
        keeping.rollback("chest-xray", "")


@pytest.mark.parametrize(("number", "alias"), [("2", "champion"), ("1", "reference")])
def test_what_others_stand_on_is_not_deleted(registry, keeping, make_entry, number, alias):
    champions(registry, make_entry, PROMOTE, NOT_WORSE)
    with pytest.raises(RegistryError, match=f"the {alias} can't be deleted"):
        keeping.delete(registry.find("chest-xray", number), "")


def half_made(registry, entry, verdict, monkeypatch):
    """Register, and be killed between the version and its alias."""

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("transferflow.registry.mlflow_promotion._move_aliases", stop)
        with pytest.raises(KeyboardInterrupt):
            registry.register(entry, verdict, registry.champion("chest-xray"))


def test_what_a_kill_left_half_made_is_carried_out(registry, keeping, make_entry, monkeypatch):
    half_made(registry, make_entry(key="a1"), PROMOTE, monkeypatch)
    assert registry.champion("chest-xray") is None
    (settled,) = keeping.repair("chest-xray")
    assert (settled.version, settled.aliases) == (1, ("champion", "reference"))
    half_made(registry, make_entry(key="a2"), HOLD, monkeypatch)
    assert [v.aliases for v in keeping.repair("chest-xray")] == [("challenger",)]
    assert keeping.repair("chest-xray") == []


def test_a_half_made_champion_that_another_overtook_is_held(registry, keeping, make_entry, monkeypatch):
    champions(registry, make_entry, PROMOTE)
    half_made(registry, make_entry(key="b1"), PROMOTE, monkeypatch)
    registry.register(make_entry(key="b2"), PROMOTE, registry.champion("chest-xray"))
    (settled,) = keeping.repair("chest-xray")
    assert (settled.tags["verdict"], settled.aliases) == ("HOLD", ("challenger",))
    assert "models:/chest-xray/3 was promoted before" in settled.tags["reasons"]
    assert registry.champion("chest-xray").version == 3


def test_a_trail_that_somebody_wrote_into_is_read_all_the_same(registry, keeping, make_entry):
    champions(registry, make_entry, PROMOTE)
    with registry.session() as client:
        client.set_registered_model_tag("chest-xray", "transferflow.audit.0", "not ours")
        client.set_registered_model_tag("chest-xray", "transferflow.audit.1", '{"who": 1}')
    assert [event.action for event in keeping.trail("chest-xray")] == ["promoted"]


def test_going_back_looks_at_promotions_alone():
    def event(action, version, replaced):
        return AuditEvent("", action, version, replaced, "gate", "")

    trail = (event("promoted", 1, None), event("promoted", 2, 1), event("rolled back", 1, 2))
    assert decide_former(trail, 1) is None
    assert decide_former(trail, 2) == 1
    assert decide_former((), 1) is None
