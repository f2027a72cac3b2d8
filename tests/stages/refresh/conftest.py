"""A data set that was trained on, as far as refreshing can tell."""

import pytest

from transferflow.stages.context import RunContext
from transferflow.stages.outcome import StageOutcome
from transferflow.stages.prepare import prepare
from transferflow.stages.refresh.turn import remember


@pytest.fixture
def context(tmp_path):
    return RunContext(tmp_path / "home")


@pytest.fixture
def trained(spec_of, context):
    """The spec with the module's own rule, after a training that was promoted."""
    spec = spec_of()
    registered = StageOutcome("register", "r" * 64, "", False, 1.0, {"verdict": "PROMOTE"})
    remember(spec, context, [prepare(spec, context), registered])
    return spec
