"""A bundle that is loaded to answer: other tensors, the same answers."""

from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from transferflow.data.loading.batch import Batch
from transferflow.serving.explain import explain_image
from transferflow.tasks.base import ask_model
from transferflow.tasks.bundle import load_bundle, load_for_answers

CPU = torch.device("cpu")


def tensors(outputs):
    """Outputs as tensors: logits, a mask's logits, or scores and boxes of each image."""
    if isinstance(outputs, torch.Tensor):
        return [outputs]
    if isinstance(outputs, dict):
        return [outputs["out"]]
    return [found[name] for found in outputs for name in ("scores", "boxes")]


@pytest.fixture
def settled(monkeypatch):
    """Statistics of batch norm as a training leaves them, in every bundle that is loaded."""
    load = nn.Module.load_state_dict

    def load_settled(module, state, **given):
        generator = torch.Generator().manual_seed(0)
        for name, tensor in state.items():
            if name.endswith("running_mean"):
                tensor.uniform_(-0.2, 0.2, generator=generator)
            elif name.endswith("running_var"):
                tensor.uniform_(0.5, 1.5, generator=generator)
        return load(module, state, **given)

    monkeypatch.setattr(nn.Module, "load_state_dict", load_settled)


@pytest.mark.parametrize("task", ["classification", "regression", "segmentation", "detection"])
@torch.no_grad()
def test_answers_are_those_of_the_model_as_it_was_trained(bundles, settled, task):
    trained, answering = load_bundle(bundles[task]), load_for_answers(bundles[task], CPU)
    rows, columns = trained.transform.image_size
    images = torch.randn(2, 3, rows, columns, generator=torch.Generator().manual_seed(0))
    batch = Batch(images, torch.empty(0), ("a", "b"))
    expected = tensors(trained.model(batch.shown))
    found = tensors(ask_model(answering.model, batch))
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in answering.model.backbone.modules())
    assert all(
        module.weight.is_contiguous(memory_format=torch.channels_last)
        for module in answering.model.modules()
        if isinstance(module, nn.Conv2d)
    )


def test_its_answers_can_be_explained(bundles):
    content = BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(content, "PNG")
    folder = bundles["classification"]
    trained, answering = load_bundle(folder), load_for_answers(folder, CPU)
    found, expected = (explain_image(bundle, content.getvalue()) for bundle in (answering, trained))
    assert found.caption == expected.caption
    assert found.heat_png
