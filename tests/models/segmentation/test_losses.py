import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from transferflow.models.segmentation.losses import cross_entropy, dice_loss

IGNORED = 255


def sample(seed, ignored=True):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, 3, 5, 6, generator=generator)
    targets = torch.randint(0, 3, (2, 5, 6), generator=generator)
    if ignored:
        targets[0, :2] = IGNORED
    return logits, targets


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.booleans())
def test_cross_entropy_is_torchs(seed, weighted):
    logits, targets = sample(seed)
    weights = torch.tensor([0.5, 2.0, 1.0]) if weighted else None
    wanted = F.cross_entropy(logits, targets, weight=weights, ignore_index=IGNORED)
    torch.testing.assert_close(cross_entropy(logits, targets, weights, IGNORED), wanted)


def test_dice_is_the_textbooks():
    logits, targets = sample(0)
    keep = targets != IGNORED
    probabilities = logits.softmax(1).permute(0, 2, 3, 1)[keep]
    losses = []
    for number in range(3):
        truth = (targets[keep] == number).float()
        found = probabilities[:, number]
        losses.append(1 - 2 * (truth * found).sum() / (truth.sum() + found.sum()))
    torch.testing.assert_close(dice_loss(logits, targets, IGNORED), torch.stack(losses).mean())


def test_a_class_that_the_batch_lacks_does_not_count():
    logits, targets = sample(0)
    targets = targets.where(targets != 2, torch.zeros_like(targets))
    two = dice_loss(logits, targets, IGNORED)
    assert 0 < two < 1
    perfect = torch.full((2, 3, 5, 6), -50.0).scatter_(
        1, targets.where(targets != IGNORED, 0 * targets)[:, None], 50.0
    )
    assert dice_loss(perfect, targets, IGNORED).item() == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("weights", [None, torch.tensor([1.0, 2.0, 3.0])])
def test_a_batch_where_nothing_counts_is_no_loss_and_no_gradient(weights):
    logits = torch.randn(1, 3, 4, 4, requires_grad=True)
    targets = torch.full((1, 4, 4), IGNORED)
    loss = cross_entropy(logits, targets, weights, IGNORED) + dice_loss(logits, targets, IGNORED)
    loss.backward()
    assert loss.item() == 0
    assert logits.grad.eq(0).all()
