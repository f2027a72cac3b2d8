import numpy as np
import pytest
import torch

from transferflow.data.transforms.mixing import mix_batch

IMAGES = torch.arange(6.0).view(6, 1, 1, 1).expand(6, 3, 8, 8).contiguous()
ONE_HOT = torch.eye(6)


def test_mixup_blends_targets_as_it_blends_images():
    images, targets = mix_batch(IMAGES, ONE_HOT, mixup=1.0, cutmix=0.0, seed=1)
    torch.testing.assert_close(targets.sum(1), torch.ones(6))
    torch.testing.assert_close(images[:, 0, 0, 0], targets @ torch.arange(6.0))
    assert not torch.equal(targets, ONE_HOT)


def test_cutmix_shares_are_areas():
    images, targets = mix_batch(IMAGES, ONE_HOT, mixup=0.0, cutmix=1.0, seed=2)
    torch.testing.assert_close(images.mean((1, 2, 3)), targets @ torch.arange(6.0))
    assert set(images.unique().tolist()) <= set(range(6))


def test_several_labels_are_blended_too():
    sets = torch.tensor([[1.0, 1.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    _, targets = mix_batch(IMAGES[:4], sets, mixup=1.0, cutmix=0.0, seed=3)
    share = targets[2] / torch.where(sets[1] > 0, 1.0, torch.inf)  # image 2 meets image 1
    assert 0 < share[1] < 1
    assert targets[2, 0] == 0


def test_an_odd_last_image_stays():
    images, targets = mix_batch(IMAGES[:5], ONE_HOT[:5], mixup=1.0, cutmix=0.0, seed=1)
    assert torch.equal(images[4], IMAGES[4])
    assert torch.equal(targets[4], ONE_HOT[4])
    single, _ = mix_batch(IMAGES[:1], ONE_HOT[:1], mixup=1.0, cutmix=0.0, seed=1)
    assert torch.equal(single, IMAGES[:1])


@pytest.mark.parametrize(("mixup", "cutmix"), [(0.2, 0.0), (0.0, 1.0), (0.2, 1.0)])
def test_the_seed_decides_and_nothing_else_changes(mixup, cutmix):
    before = IMAGES.clone()
    np.random.seed(7)
    state = np.random.get_state()[1].copy()
    first = mix_batch(IMAGES, ONE_HOT, mixup=mixup, cutmix=cutmix, seed=4)
    np.testing.assert_array_equal(np.random.get_state()[1], state)
    np.random.seed(8)
    second = mix_batch(IMAGES, ONE_HOT, mixup=mixup, cutmix=cutmix, seed=4)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    other = [mix_batch(IMAGES, ONE_HOT, mixup=mixup, cutmix=cutmix, seed=s)[1] for s in range(5, 9)]
    assert any(not torch.equal(first[1], targets) for targets in other)
    assert torch.equal(IMAGES, before)
