"""A group of one rank on a real GPU: what is sent there goes by NCCL, the rest by gloo."""

from __future__ import annotations

import pytest
import torch

from transferflow.training.distributed.addresses import free_port
from transferflow.training.distributed.together import joined
from transferflow.training.loop.run import train

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
SETTINGS = {"device": "cuda", "gradient_clip": 1.0}


@pytest.fixture
def group(monkeypatch):
    """The ranks' side of a group."""
    told = {"RANK": 0, "WORLD_SIZE": 1, "LOCAL_RANK": 0, "MASTER_PORT": free_port("127.0.0.1")}
    for name, value in told.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    with joined(torch.device("cuda")) as ranks:
        yield ranks


@pytest.mark.parametrize("more", [{}, {"ema": 0.9}, {"precision": "auto"}], ids=["ahead", "average", "bf16"])
def test_it_trains_as_alone(build_job, tmp_path, group, more):
    alone = build_job(folder=tmp_path / "alone", settings=SETTINGS | more)
    expected = train(alone)
    job = build_job(settings=SETTINGS | more, ranks=group)
    found = train(job)
    assert [row["train_loss"] for row in found.history] == pytest.approx(
        [row["train_loss"] for row in expected.history], rel=1e-3
    )
    for name, tensor in job.model.state_dict().items():
        torch.testing.assert_close(tensor, alone.model.state_dict()[name], rtol=1e-2, atol=1e-3)


def test_what_ranks_say_to_each_other(group):
    tensors = [torch.arange(5.0, device="cuda"), torch.ones(2, 3, device="cuda", dtype=torch.bfloat16)]
    group.add_up(tensors)
    group.copy_first(tensors)
    assert tensors[0].tolist() == [0, 1, 2, 3, 4]
    assert group.total([0.5, 2.0]) == [0.5, 2.0]
    assert group.share({"a": 1}) == {"a": 1}
    assert group.gather(b"xyz") == [b"xyz"]
