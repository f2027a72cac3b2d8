from dataclasses import dataclass

import pytest

from transferflow.registry.base import RegisteredVersion
from transferflow.stages.context import RunContext
from transferflow.stages.train.key import base_of, complete_train_inputs


@dataclass
class Versions:
    """A registry with a champion and what came before it."""

    known: list[RegisteredVersion]

    def champion(self, model):
        return self.known[-1] if self.known else None

    def tagged(self, model, tag, key):
        return next((version for version in self.known if version.tags[tag] == key), None)


def version(number, train_key, base="other", start=""):
    tags = {"train_key": train_key, "train_base": base, "warm_start": start}
    return RegisteredVersion("colours", number, f"run{number}", (), tags)


@pytest.fixture
def inputs_after(build_spec, make_snapshot, tmp_path, monkeypatch):
    """Inputs of a spec with a warm start, after some versions."""

    def run(*known):
        monkeypatch.setattr(RunContext, "registry", property(lambda self: Versions(list(known))))
        spec = build_spec(head={"warm_start": "champion"})
        return complete_train_inputs(spec, RunContext(tmp_path), make_snapshot())

    return run


def test_a_first_training_starts_from_nothing(inputs_after):
    made_from = inputs_after()
    assert "warm_start" not in made_from.inputs
    assert made_from.start is None


def test_the_version_that_the_key_names_is_the_one_that_gives_its_rows(inputs_after):
    made_from = inputs_after(version(1, "k1"), version(2, "k2"))
    assert (made_from.inputs["warm_start"], made_from.start.version) == ("k2", 2)


def test_a_champion_trained_again_starts_where_it_started(inputs_after):
    base = base_of(inputs_after().inputs)
    made_from = inputs_after(version(1, "k1"), version(2, "k2", base, start="k1"))
    assert (made_from.inputs["warm_start"], made_from.start.version) == ("k1", 1)
    from_nothing = inputs_after(version(1, "k1", base))
    assert "warm_start" not in from_nothing.inputs
    assert from_nothing.start is None


def test_where_its_start_is_gone_it_starts_from_the_champion(inputs_after):
    base = base_of(inputs_after().inputs)
    made_from = inputs_after(version(2, "k2", base, start="k1"))
    assert (made_from.inputs["warm_start"], made_from.start.version) == ("k2", 2)


def test_a_champion_from_elsewhere_has_no_rows_to_give(inputs_after):
    made_from = inputs_after(RegisteredVersion("colours", 1, "run", ("champion",), {}))
    assert made_from.start is None
