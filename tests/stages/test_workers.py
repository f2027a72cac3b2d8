"""The number of loader processes is no part of a stage's key, so it must not change a weight."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

from transferflow.stages.context import RunContext
from transferflow.stages.prepare import prepare
from transferflow.stages.train.stage import train

pytestmark = pytest.mark.slow


def test_the_worker_count_changes_neither_key_nor_weights(build_spec, tmp_path):
    found = {}
    for workers in (0, 1, 2):
        training = {"epochs": 2, "batch_size": 12, "device": "cpu", "precision": "fp32", "workers": workers}
        spec = build_spec(head={"dropout": 0.5}, training=training)
        context = RunContext(tmp_path / str(workers))
        trained = train(spec, context, prepare(spec, context))
        found[workers] = (trained.key, load_file(trained.folder / "weights.safetensors"))
    key, weights = found[0]
    for other_key, other in (found[1], found[2]):
        assert other_key == key
        assert all(torch.equal(value, other[name]) for name, value in weights.items())
