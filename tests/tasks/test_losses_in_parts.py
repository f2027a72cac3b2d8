"""Losses of parts of a batch, by what each is a mean over, make up that of the whole batch."""

import pytest
import torch
from torch import nn

from transferflow.data.loading.batch import Batch
from transferflow.tasks.build import build_task
from transferflow.training.loop.micro_batches import count_batch, loss_shares, split_batch
from transferflow.training.ranks import ALONE


class ByName(nn.Module):
    """Answers with logits that were drawn for each image."""

    def __init__(self, logits):
        super().__init__()
        self.logits = logits

    def forward(self, images):
        found = self.logits[images.flatten(1)[:, 0].long()]
        return found if found.ndim == 2 else {"out": found, "aux": found / 2}


def whole_and_parts(losses, logits, targets):
    numbered = torch.arange(float(len(targets)))[:, None, None, None]
    batch = Batch(numbered, targets, tuple(map(str, range(len(targets)))))
    model = ByName(logits)
    whole, total = losses(model, batch), {}
    counted = count_batch(batch, losses.counts, ALONE)
    for part in split_batch(batch, 3):
        shares = loss_shares(part, counted, tuple(whole), losses.counts)
        for name, value in losses(model, part).items():
            total[name] = total.get(name, 0.0) + value.item() * shares[name]
    return whole, total


@pytest.mark.parametrize("mixed", [False, True])
def test_weighted_classes(build_spec, load, tmp_path, mixed):
    weights = {"blue": 0.2, "red": 7.0}
    spec = build_spec(training={"class_weights": weights, "label_smoothing": 0.1})
    losses = build_task(spec).build_losses(load(spec, tmp_path / "snapshot"))
    logits = torch.randn(8, 3, generator=torch.Generator().manual_seed(0)) * 3
    targets = torch.tensor([0, 0, 0, 2, 1, 1, 2, 2])
    if mixed:
        targets = nn.functional.one_hot(targets).float() * 0.7 + 0.1
    whole, total = whole_and_parts(losses, logits, targets)
    assert total["loss"] == pytest.approx(whole["loss"].item(), rel=1e-5)


def test_weighted_pixels_of_which_some_do_not_count(cells, load, tmp_path):
    training = cells.training.model_copy(update={"class_weights": "balanced"})
    spec = cells.model_copy(update={"training": training})
    losses = build_task(spec).build_losses(load(spec, tmp_path / "snapshot"))
    random = torch.Generator().manual_seed(0)
    targets = torch.randint(0, 2, (7, 8, 8), generator=random)
    targets[:3, :6] = 255
    logits = torch.randn(7, 2, 8, 8, generator=random)
    whole, total = whole_and_parts(losses, logits, targets)
    assert total["cross_entropy"] == pytest.approx(whole["cross_entropy"].item(), rel=1e-5)
    assert total["dice"] == pytest.approx(whole["dice"].item(), rel=0.2)  # a ratio over the batch
