"""Features computed once give the same head as features computed in every epoch."""

from collections.abc import Iterator

import pytest
import torch
from torch import nn

from transferflow.spec.sections.freeze import FreezeBackbone, FreezeLayers, FreezePhases, Phase
from transferflow.training.features import cache_features, decide_feature_cache
from transferflow.training.freezing import compile_freeze
from transferflow.training.loop.run import train

BACKBONE = FreezeBackbone(policy="backbone")


class Split(nn.Module):
    """The tiny model as `head(backbone(images))`."""

    def __init__(self, tiny: nn.Module) -> None:
        super().__init__()
        self.backbone = nn.Sequential(
            tiny.stem, tiny.layer1, tiny.layer2, nn.AdaptiveAvgPool2d(1), nn.Flatten()
        )
        self.head = nn.Sequential(nn.Dropout(0.5), tiny.head)
        paths = {"stem": "backbone.0", "layer1": "backbone.1", "layer2": "backbone.2", "head": "head.1"}
        self.groups = tuple(self._renamed(group, paths[group.name]) for group in tiny.groups)

    @staticmethod
    def _renamed(group, path):
        blocks = tuple(
            type(block)(
                block.name,
                tuple(path + name.removeprefix(group.name) for name in block.parameters),
                block.step,
            )
            for block in group.blocks
        )
        return type(group)(group.name, group.part, blocks, (path,))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.backbone(images))


class OrderedLoader:
    """Tells an epoch's order, and leaves out one batch of each epoch's, another one each time."""

    def __init__(self, loader):
        self.loader, self.read = loader, []

    def __len__(self) -> int:
        return len(self.loader) - 1

    def order(self, number: int) -> Iterator[tuple[str, ...]]:
        for step, batch in enumerate(self.loader.epoch(number)):
            if step < len(self):
                yield batch.ids

    def epoch(self, number: int, first: int = 0):
        self.read.append(number)
        for step, batch in enumerate(self.loader.epoch(number, first), first):
            if step < len(self):
                yield batch


@pytest.fixture
def split_model(tiny_model):
    torch.manual_seed(0)
    return Split(tiny_model)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_same_head_and_few_readings(build_job, split_model, random_loader, tmp_path, precision):
    settings = {"epochs": 6, "precision": precision}
    start = {name: tensor.clone() for name, tensor in split_model.state_dict().items()}
    runs = {}
    for name in ("plain", "cached"):
        split_model.load_state_dict(start)
        loader = OrderedLoader(random_loader())
        job = build_job(
            split_model, freeze=BACKBONE, settings=settings, train_loader=loader, folder=tmp_path / name
        )
        result = train(cache_features(job, loader) if name == "cached" else job)
        weights = {n: tensor.clone() for n, tensor in split_model.state_dict().items()}
        runs[name] = (weights, result, len(loader.read))
    plain, cached = runs["plain"], runs["cached"]
    for name, tensor in plain[0].items():
        torch.testing.assert_close(cached[0][name], tensor, rtol=1e-5, atol=1e-6)
    assert cached[1].best_epoch == plain[1].best_epoch
    assert cached[1].proofs == plain[1].proofs
    assert plain[2] == 6
    assert cached[2] == 4  # as many as it takes to see every image


def test_a_resumed_training_sees_the_same_features(build_job, split_model, random_loader, tmp_path):
    start = {name: tensor.clone() for name, tensor in split_model.state_dict().items()}

    def run(folder, **parts):
        split_model.load_state_dict(start)
        loader = OrderedLoader(random_loader())
        settings = {"epochs": 4}
        job = build_job(
            split_model,
            freeze=BACKBONE,
            settings=settings,
            train_loader=loader,
            folder=tmp_path / folder,
            **parts,
        )
        train(cache_features(job, loader))
        return {name: tensor.clone() for name, tensor in split_model.state_dict().items()}

    def stop(model):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return build_job().validate(model)

    calls = []
    whole = run("whole")
    with pytest.raises(Exception, match="stopped after 2 of 4 epochs"):
        run("cut", validate=stop)
    resumed = run("cut")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


@pytest.mark.parametrize(
    ("freeze", "is_random", "epochs", "expected"),
    [
        (BACKBONE, False, 5, True),
        (BACKBONE, True, 5, False),
        (BACKBONE, False, 1, False),
        (FreezeBackbone(policy="backbone", batch_norm="train"), False, 5, False),
        (FreezeLayers(policy="layers", layers=("stem", "layer*")), False, 5, True),
        (FreezeLayers(policy="layers", layers=("stem",)), False, 5, False),
        (
            FreezePhases(
                policy="phases", phases=(Phase(epochs=1, train=("head",)), Phase(epochs=1, train=("*",)))
            ),
            False,
            5,
            False,
        ),
    ],
)
def test_when_features_can_be_cached(tiny_model, freeze, is_random, epochs, expected):
    schedule = compile_freeze(freeze, tiny_model.groups, 5)
    found = decide_feature_cache(tiny_model.groups, schedule, is_random=is_random, epochs=epochs)
    assert found == expected
