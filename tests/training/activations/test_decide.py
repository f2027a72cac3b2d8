"""When activations are cached."""

import pytest
from torch.utils._pytree import tree_flatten

from transferflow.models.cut.cut import Cut, Kept, Played
from transferflow.training.activations.decide import bytes_of, decide_pays, decide_views, planned_epochs
from transferflow.training.job import FreezePhase, FreezeSchedule


@pytest.mark.parametrize(
    ("setting", "is_varied", "mixes", "views"),
    [
        ("auto", False, False, 1),
        ("auto", True, False, None),
        ("auto", False, True, None),
        ("off", False, False, None),
        (4, True, False, 4),
        (4, False, False, 1),  # every view would be the same
    ],
)
def test_views(setting, is_varied, mixes, views):
    assert decide_views(setting, is_varied=is_varied, mixes=mixes) == views


def cut(operations, *shapes):
    form = tree_flatten(None)[1]
    call = Played("a", 0, tuple(Kept(shape) for shape in shapes), form)
    return Cut((call,), operations, 2 * operations)


def test_reading_must_take_less_time_than_computing():
    assert bytes_of(cut(1, (3, 4), (5,)), 4) == 68
    assert decide_pays(cut(10**9, (1280,)), 5120, "cuda")
    assert decide_pays(cut(10**6, (64, 8, 8)), 16384, "cpu")
    assert not decide_pays(cut(10**5, (64, 8, 8)), 16384, "cpu")
    assert not decide_pays(cut(10**6, (64, 8, 8)), 16384, "cuda")


@pytest.mark.parametrize(("epoch", "lasts"), [(0, 2), (1, 2), (2, 1), (3, 7), (9, 7)])
def test_a_phase_lasts_as_long_as_planned(epoch, lasts):
    phases = tuple(FreezePhase(first, frozenset()) for first in (0, 2, 3))
    assert planned_epochs(FreezeSchedule(phases, "frozen"), epoch, 10) == lasts
