"""Batch norm that is joined: the same model but for what it normalises by. One process is enough here."""

import copy

import pytest
import timm
import torch
from torch import nn

from transferflow.data.loading.batch import Batch
from transferflow.errors import TrainingError
from transferflow.training.device import Arithmetic
from transferflow.training.distributed.together import Together
from transferflow.training.loop.micro_batches import joins_batch_norm
from transferflow.training.loop.stepper import Stepper


@pytest.fixture
def model():
    torch.manual_seed(0)
    return timm.create_model("test_efficientnet", num_classes=3)  # norms that activate, of timm's own


def test_joined_batch_norm_computes_the_same_in_eval_mode_and_can_be_copied(model):
    images = torch.randn(2, 3, 64, 64)
    expected, names = model.eval()(images), list(model.state_dict())
    joined = Together(0, 2, None).join_batch_norm(model)
    assert any(isinstance(module, nn.SyncBatchNorm) for module in joined.modules())
    assert list(joined.state_dict()) == names
    torch.testing.assert_close(copy.deepcopy(joined)(images), expected)  # as the moving average is
    assert not joins_batch_norm(joined)
    assert joins_batch_norm(joined.train())


def test_with_joined_batch_norm_a_full_gpu_takes_no_smaller_parts(model):
    """The other devices would wait for it in the middle of the model."""
    joined = Together(0, 2, None).join_batch_norm(model).train()

    def full(model, batch):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 MiB")

    arithmetic = Arithmetic("fp32", torch.contiguous_format)
    optimizer = torch.optim.SGD(joined.parameters(), lr=0.1)
    stepper = Stepper(joined, optimizer, None, full, arithmetic, torch.device("cpu"), None)
    with pytest.raises(TrainingError, match="the GPU's memory is full"):
        stepper.gradients(Batch(torch.zeros(4, 3, 8, 8), torch.zeros(4).long(), tuple("abcd")), 0)
    assert stepper.micro_batch is None
