from __future__ import annotations

import pytest
import torch
from torch import nn

from transferflow.errors import WeightsError
from transferflow.models.backbones.matching import match_state, rename_keys, unfit_values


def test_infinity_is_refused_in_weights_and_taken_in_bounds():
    model = nn.BatchNorm1d(2)
    model.register_buffer("bound", torch.tensor(torch.inf))
    state = model.state_dict()
    assert unfit_values(model, state) == ()
    spoilt = state | {"weight": torch.tensor([1.0, torch.inf]), "running_mean": torch.full((2,), torch.nan)}
    assert unfit_values(model, spoilt) == ("weight (NaN or infinite)", "running_mean (NaN or infinite)")


def test_a_hundred_percent_is_all():
    own = {str(number): torch.zeros(1) for number in range(2000)}
    assert "(100.0%)" in str(match_state(own, own))
    assert "(99.9%)" in str(match_state(own, dict(list(own.items())[1:])))


def test_the_longest_entry_renames():
    state = {"a.b.x": torch.zeros(1), "a.c": torch.zeros(1)}
    assert list(rename_keys(state, "", {"a.": "1.", "a.b.": "2."}, [])) == ["2.x", "1.c"]
    with pytest.raises(
        WeightsError, match=r"key_map\.a\.: the entry renames no key(.|\n)*longer one is taken"
    ):
        rename_keys({"a.b.x": torch.zeros(1)}, "", {"a.": "1.", "a.b.": "2."}, [])
