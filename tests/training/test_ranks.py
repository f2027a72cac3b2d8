"""Alone there is nobody to talk to; together, devices that have grown apart are found."""

import json

import pytest
import torch
from torch import nn

from transferflow.errors import TrainingError
from transferflow.training.job import PhaseProof
from transferflow.training.proof import require_same_model
from transferflow.training.ranks import ALONE

PROOF = PhaseProof(0, 1, ("stem",), 2, "f" * 64, "f" * 64)


class Heard:
    """Rank 0 of three; the last one says something else of one part."""

    rank, world = 0, 3

    def __init__(self, part):
        self._part = part

    def gather(self, data):
        return [data, data, json.dumps(json.loads(data) | {self._part: "0" * 64}).encode()]


@pytest.mark.parametrize("part", ["frozen tensors", "weights"])
def test_devices_that_have_grown_apart_are_named(part):
    with pytest.raises(TrainingError, match="have not trained the same model") as caught:
        require_same_model(Heard(part), nn.Linear(2, 2), PROOF)
    assert caught.value.problems[0].found == f"{part} of device 2 are not those of device 0"


def test_those_that_have_not_are_well(monkeypatch):
    heard = Heard("weights")
    monkeypatch.setattr(heard, "gather", lambda data: [data] * 3)
    require_same_model(heard, nn.Linear(2, 2), PROOF)


def test_alone_everything_stays_as_it_is():
    tensor = torch.arange(3.0)
    with ALONE.in_turn():
        ALONE.add_up([tensor])
        ALONE.copy_first([tensor])
    assert tensor.tolist() == [0, 1, 2]
    assert ALONE.total([1.0, 2.0]) == [1.0, 2.0]
    assert ALONE.share({"a": [1]}) == {"a": [1]}
    assert ALONE.gather(b"x") == [b"x"]
    model = nn.BatchNorm2d(2)
    assert ALONE.join_batch_norm(model) is model
