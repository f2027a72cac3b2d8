"""The loss of answers that somebody else asks for."""

import pytest
import torch
from torch import nn

from transferflow.data.loading.batch import Batch
from transferflow.stages.train.answer_loss import AnswerLoss, validation_losses
from transferflow.tasks.base import PredictionInputs
from transferflow.tasks.losses import Losses


def mean_of(model, batch):
    return {"size": model(batch.images).mean(), "other": batch.targets.float().mean()}


def batches():
    for numbers in ([1.0, 2.0, 3.0], [8.0]):
        images = torch.tensor(numbers)[:, None]
        yield Batch(images, images[:, 0] * 10, tuple(map(str, numbers)))


@torch.no_grad()
def test_means_are_over_what_each_loss_counts_and_no_image_is_asked_twice(tmp_path):
    asked = []
    model = nn.Linear(1, 1)
    model.register_forward_pre_hook(lambda _, inputs: asked.append(len(inputs[0])))
    nn.init.ones_(model.weight)
    nn.init.zeros_(model.bias)
    loss = AnswerLoss(Losses(mean_of, lambda batch: {"other": 1.0}))
    inputs = loss.watch(PredictionInputs(batches(), {}, None, (), tmp_path))
    for batch in inputs.batches:
        inputs.ask(model, batch)
    found = validation_losses([loss.sums])
    assert asked == [3, 1]
    assert found["val_size"] == pytest.approx((1 + 2 + 3 + 8) / 4)
    assert found["val_other"] == pytest.approx((20 + 80) / 2)
    assert found["val_loss"] == pytest.approx(found["val_size"] + found["val_other"])


def test_without_an_image_there_is_none():
    assert validation_losses([AnswerLoss(Losses(mean_of)).sums]) == {}


def test_devices_that_saw_some_images_each_make_up_all():
    assert validation_losses([{"loss": (6.0, 3.0)}, {}, {"loss": (8.0, 1.0)}]) == {"val_loss": 3.5}
