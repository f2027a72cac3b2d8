"""When a training has a process per device, and when it stays in this one."""

from types import SimpleNamespace

import pytest

from transferflow.errors import PlanError
from transferflow.stages.train import spread


@pytest.fixture
def spread_over(build_spec, monkeypatch):
    """How a training of these sections goes on: `here`, or over as many devices."""

    def run(head=None, apart=False, **training):
        went = []
        monkeypatch.setattr(spread, "fit", lambda given: went.append("here"))
        monkeypatch.setattr(spread, "hand_over", lambda given: {})
        monkeypatch.setattr(spread, "launch", lambda plan, job: went.append((plan.devices, plan.device)))
        options = {"batch_size": 12, "workers": 0, "device": "cpu", **training}
        spec, context = build_spec(training=options, **(head or {})), SimpleNamespace(apart=apart)
        spread.fit_on_devices(SimpleNamespace(spec=spec, context=context))
        return went

    return run


def test_one_device_needs_no_other_process(spread_over):
    assert spread_over() == ["here"]
    assert spread_over(devices=1) == ["here"]
    assert spread_over(devices=2) == [(2, "cpu")]


def test_a_deployed_run_trains_in_a_process_of_its_own(spread_over):
    assert spread_over(apart=True) == [(1, "cpu")]
    assert spread_over(apart=True, devices=2) == [(2, "cpu")]


def test_what_trains_nothing_stays_here(spread_over):
    head = {"head": {"init": "prototypes"}}
    assert spread_over(head, apart=True, epochs=0) == ["here"]
    assert spread_over(head, devices=2, epochs=0) == ["here"]


def test_devices_that_are_not_there_are_refused_before(spread_over):
    with pytest.raises(PlanError):
        spread_over(devices=2, device="cuda")
