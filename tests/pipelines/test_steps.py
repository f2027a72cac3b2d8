import json

import pytest
from transferflow.pipelines.steps import failed_state, stage_step, state_of

from transferflow.errors import DataError, InterruptedRunError, SpecError
from transferflow.spec.load import load_spec
from transferflow.stages.context import RunContext
from transferflow.stages.outcome import StageOutcome


def outcome(reused):
    return StageOutcome("train", "a" * 64, "/somewhere", reused, 1.25, {"best": 0.5})


@pytest.mark.parametrize(("reused", "name"), [(True, "Cached"), (False, "Completed")])
def test_the_state_says_whether_a_stage_was_reused(reused, name):
    state = state_of(lambda: outcome(reused))
    assert (state.type.value, state.name) == ("COMPLETED", name)
    assert StageOutcome.from_json(json.loads(json.dumps(state.data))) == outcome(reused)


def test_an_expected_error_is_a_failed_state_with_its_message():
    def stage():
        raise DataError("too many bad files", where="data.root", hint="look at quarantine.csv")

    state = state_of(stage)
    assert (state.type.value, state.name) == ("FAILED", "Failed")
    assert state.message == "data.root: too many bad files\n    hint: look at quarantine.csv"
    with pytest.raises(DataError, match="too many bad files"):
        state.result()


def test_a_stopped_run_is_told_apart():
    assert failed_state(InterruptedRunError("stopped")).name == "Interrupted"
    assert failed_state(SpecError("wrong")).name == "Failed"


def test_a_bug_is_not_hidden():
    with pytest.raises(ZeroDivisionError):
        state_of(lambda: 1 / 0)


def test_a_step_runs_its_stage_without_a_server(project, tmp_path):
    spec, context = load_spec(project / "tiny.yaml"), RunContext(tmp_path)
    first, again = (stage_step.fn("prepare", spec, context, ()) for _ in range(2))
    assert (first.name, again.name) == ("Completed", "Cached")
    assert again.data["key"] == first.data["key"]
    assert again.data["summary"]["classes"] == 3
