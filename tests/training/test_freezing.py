"""Freeze policies, modes and the freeze proof."""

import pytest
import timm
import torch
from torch import nn

from transferflow.errors import PlanError, TrainingError
from transferflow.models.backbones.build import build_backbone
from transferflow.models.classifier import ImageClassifier
from transferflow.models.layers import Block, LayerGroup
from transferflow.spec.sections.backbone import TimmBackbone
from transferflow.spec.sections.freeze import (
    FreezeBackbone,
    FreezeLayers,
    FreezeNone,
    FreezePhases,
    FreezeUntil,
    Phase,
)
from transferflow.training.freezing import apply_freeze, compile_freeze
from transferflow.training.job import FreezePhase, FreezeSchedule
from transferflow.training.loop.run import train
from transferflow.training.proof import require_separable, tensor_digests


def phases_of(*pairs):
    return FreezePhases(
        policy="phases", phases=tuple(Phase(epochs=epochs, train=trains) for epochs, trains in pairs)
    )


@pytest.mark.parametrize(
    ("freeze", "frozen"),
    [
        (FreezeNone(policy="none"), set()),
        (FreezeBackbone(policy="backbone"), {"stem", "layer1", "layer2"}),
        (FreezeUntil(policy="until", until="layer1"), {"stem", "layer1"}),
        (FreezeLayers(policy="layers", layers=("layer*",)), {"layer1", "layer2"}),
        (FreezeLayers(policy="layers", layers=("layer2", "stem")), {"stem", "layer2"}),
    ],
)
def test_policies(tiny_model, freeze, frozen):
    (phase,) = compile_freeze(freeze, tiny_model.groups, 5).phases
    assert phase.frozen == frozen
    assert (phase.first_epoch, phase.lr_scale) == (0, 1.0)


def test_phases_are_a_pure_function_of_the_epoch(tiny_model):
    schedule = compile_freeze(
        phases_of((2, ("head",)), (3, ("layer2", "head")), (1, ("*",))), tiny_model.groups, 10
    )
    found = [sorted(schedule.at(epoch).frozen) for epoch in range(10)]
    first, second = ["layer1", "layer2", "stem"], ["layer1", "stem"]
    assert found == [first] * 2 + [second] * 3 + [[]] * 5  # the last phase lasts until the end


@pytest.mark.parametrize(
    ("freeze", "message"),
    [
        (FreezeUntil(policy="until", until="layer3"), "freeze.until.*\n.*\n.*stem, layer1, layer2, head"),
        (FreezeUntil(policy="until", until="layr2"), "did you mean `layer2`"),
        (FreezeLayers(policy="layers", layers=("stem", "conv*")), r"freeze.layers.1: .*'conv\*'"),
        (phases_of((1, ("heads",))), "freeze.phases.0.train"),
        (FreezeUntil(policy="until", until="head"), "nothing trains from epoch 1 on"),
        (FreezeLayers(policy="layers", layers=("*",)), "nothing trains"),
        (phases_of((5, ("head",)), (1, ("*",))), "starts after epoch 5, and training has 5"),
    ],
)
def test_what_can_not_be_met_is_refused(tiny_model, freeze, message):
    with pytest.raises(PlanError, match=message):
        compile_freeze(freeze, tiny_model.groups, 5)


def test_a_name_that_stands_for_several_groups(tiny_model):
    groups = tuple(LayerGroup(f"blocks.{n}", "backbone", (), ()) for n in range(3)) + tiny_model.groups[-1:]
    with pytest.raises(PlanError, match=r"blocks\.\*"):
        compile_freeze(FreezeUntil(policy="until", until="blocks"), groups, 1)


def test_a_head_without_parameters_does_not_train(tiny_model):
    groups = (*tiny_model.groups[:-1], LayerGroup("head", "head", (), ("head",)))
    with pytest.raises(PlanError, match="nothing trains"):
        compile_freeze(FreezeBackbone(policy="backbone"), groups, 1)


@pytest.mark.parametrize("batch_norm", ["frozen", "train", "all_frozen"])
def test_modes(tiny_model, batch_norm):
    tiny_model.train()
    apply_freeze(tiny_model, tiny_model.groups, FreezePhase(0, frozenset({"stem", "layer1"})), batch_norm)
    for name, parameter in tiny_model.named_parameters():
        assert parameter.requires_grad == name.startswith(("layer2", "head")), name
    for name, module in tiny_model.named_modules():
        is_frozen = name.startswith(("stem", "layer1"))
        expected = not is_frozen
        if isinstance(module, nn.BatchNorm2d):
            expected = {"frozen": not is_frozen, "train": True, "all_frozen": False}[batch_norm]
        assert module.training == expected, name


def test_unfreezing_gives_back_gradients_and_modes(tiny_model):
    for frozen in ({"stem", "layer1", "layer2"}, set()):
        tiny_model.train()
        apply_freeze(tiny_model, tiny_model.groups, FreezePhase(0, frozenset(frozen)), "frozen")
    assert all(parameter.requires_grad for parameter in tiny_model.parameters())
    assert all(module.training for module in tiny_model.modules())


# GhostNet drops features out by the flag of the model as a whole, which belongs to no single group.
@pytest.mark.parametrize(
    "name", ["vit_tiny_patch16_224", "test_efficientnet", "test_convnext", "ghostnet_050"]
)
def test_a_frozen_backbone_computes_the_same_twice(name):
    """Dropout, stochastic depth and batch norm of a frozen backbone are still."""
    section = TimmBackbone(source="timm", name=name, weights="none")
    backbone = build_backbone(section, channels=3, image_size=64, pretrained=False)
    model = ImageClassifier(backbone, 3, dropout=0.5)
    for module in model.modules():
        if isinstance(module, nn.Dropout | timm.layers.DropPath):
            for attribute in ("p", "drop_prob"):
                if hasattr(module, attribute):
                    setattr(module, attribute, 0.5)
    freeze = compile_freeze(FreezeBackbone(policy="backbone"), model.groups, 1)
    images = torch.randn(2, 3, 64, 64)
    model.train()
    assert model.head.training
    apply_freeze(model, model.groups, freeze.at(0), freeze.batch_norm)
    assert torch.equal(model.backbone(images), model.backbone(images))
    assert not torch.equal(model(images), model(images))  # the head's dropout is alive


def test_the_digest_covers_parameters_and_buffers(tiny_model):
    names = {"stem", "layer1"}
    before = tensor_digests(tiny_model, tiny_model.groups, names)
    expected = [n for n in tiny_model.state_dict() if n.startswith(("stem", "layer1"))]
    assert list(before) == expected
    for tensor in (tiny_model.head.weight.data, tiny_model.layer2[1].running_mean):
        tensor.add_(1)
    assert tensor_digests(tiny_model, tiny_model.groups, names) == before
    for tensor in (tiny_model.stem[0].weight.data, tiny_model.layer1[0][1].running_var):
        tensor.view(-1)[0] += 1e-3
        after = tensor_digests(tiny_model, tiny_model.groups, names)
        assert after != before
        before = after


def test_with_batch_norm_train_the_proof_leaves_out_the_statistics(build_job):
    job = build_job(freeze=FreezeBackbone(policy="backbone", batch_norm="train"))
    before = {name: tensor.clone() for name, tensor in job.model.state_dict().items()}
    (proof,) = train(job).proofs
    statistics = [name for name in before if "running_" in name or "num_batches" in name]
    assert proof.left_out == len(statistics) == 12
    assert proof.tensors == len([n for n in before if not n.startswith("head")]) - 12
    assert proof.holds
    assert not torch.equal(before["stem.1.running_mean"], job.model.stem[1].running_mean)


def test_all_frozen_keeps_every_statistic(build_job):
    job = build_job(freeze=FreezeNone(policy="none", batch_norm="all_frozen"))
    before = {name: tensor.clone() for name, tensor in job.model.state_dict().items()}
    train(job)
    for name, tensor in job.model.state_dict().items():
        is_still = "running_" in name or "num_batches" in name
        assert torch.equal(before[name], tensor) == is_still, name


def test_a_violation_names_the_tensors(build_job, tiny_model):
    """A model that writes to its own frozen buffer is found out."""

    def write(module, inputs, output):
        if tiny_model.head.training:
            tiny_model.stem[1].running_mean.add_(1e-3)

    tiny_model.layer1.register_forward_hook(write)
    job = build_job(tiny_model, freeze=FreezeBackbone(policy="backbone"))
    with pytest.raises(TrainingError, match=r"1 frozen tensors changed in epochs 1 to 3") as caught:
        train(job)
    assert "stem.1.running_mean" in str(caught.value)


def test_with_all_frozen_the_proof_holds_the_statistics_of_every_group(build_job):
    job = build_job(freeze=FreezeNone(policy="none", batch_norm="all_frozen"))
    (proof,) = train(job).proofs
    statistics = [name for name in job.model.state_dict() if "running_" in name or "num_batches" in name]
    assert proof.groups == ()
    assert proof.tensors == len(statistics) > 0
    assert proof.holds


class Sharing(nn.Module):
    """A second group that computes with a layer and a batch norm of the first, as timm's CoaT does."""

    def __init__(self):
        super().__init__()
        self.shared = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
        self.block = nn.ModuleDict({"own": nn.Linear(3, 3), "shared": self.shared})
        self.head = nn.Linear(3, 2)
        parameters = [name for name, _ in self.named_parameters()]
        self.groups = tuple(
            LayerGroup(
                name, part, (Block(name, tuple(p for p in parameters if p.startswith(name))),), (name,)
            )
            for name, part in (("shared", "backbone"), ("block", "backbone"), ("head", "head"))
        )


def test_a_shared_tensor_is_proven_once_with_the_group_that_owns_it():
    model = Sharing()
    assert set(tensor_digests(model, model.groups, {"block"})) == {"block.own.weight", "block.own.bias"}
    both = tensor_digests(model, model.groups, {"shared", "block"})
    assert len(both) == 2 + 7


def test_a_group_is_not_frozen_without_the_one_whose_parameters_it_uses():
    model = Sharing()
    for frozen in ({"shared"}, {"shared", "block"}, set()):
        require_separable(model, model.groups, FreezeSchedule((FreezePhase(0, frozenset(frozen)),), "frozen"))
    schedule = FreezeSchedule(
        (FreezePhase(0, frozenset({"shared", "block"})), FreezePhase(2, frozenset({"block"}))), "frozen"
    )
    with pytest.raises(PlanError, match=r"block shares parameters with shared, which trains(?s:.*)epoch 3"):
        require_separable(model, model.groups, schedule)


@pytest.mark.parametrize("name", ["coat_lite_tiny", "coat_tiny"])
def test_coat_freezes_a_whole_stage_or_none_of_it(name):
    section = TimmBackbone(source="timm", name=name, weights="none")
    backbone = build_backbone(section, channels=3, image_size=None, pretrained=False, device="meta")
    for freeze, fits in (
        (FreezeBackbone(policy="backbone"), True),
        (FreezeUntil(policy="until", until="serial_blocks1.1"), True),
        (FreezeLayers(policy="layers", layers=("serial_blocks1.0",)), False),
    ):
        schedule = FreezeSchedule(_first_phase(freeze, backbone.groups), "frozen")
        if fits:
            require_separable(backbone, backbone.groups, schedule)
            continue
        with pytest.raises(PlanError, match=r"serial_blocks1\.0 shares parameters with patch_embed1"):
            require_separable(backbone, backbone.groups, schedule)


def _first_phase(freeze, groups):
    """The policy's phase beside a head that trains."""
    head = LayerGroup("head", "head", (Block("head", ("head.weight",)),), ("head",))
    return compile_freeze(freeze, (*groups, head), 2).phases


def test_digests_do_not_depend_on_layout(tiny_model):
    names = {group.name for group in tiny_model.groups}
    before = tensor_digests(tiny_model, tiny_model.groups, names)
    tiny_model.to(memory_format=torch.channels_last)
    assert tensor_digests(tiny_model, tiny_model.groups, names) == before
