"""Decisions of the preflight, without a model."""

import json

import pytest
import torch

from transferflow.errors import TrainingError
from transferflow.training.job import FreezePhase
from transferflow.training.preflight import memory, pixels
from transferflow.training.preflight.contents import Check, Preflight
from transferflow.training.preflight.gradients import check_gradients
from transferflow.training.preflight.pace import Pace, check_time, phase_epochs, training_seconds

FROZEN = frozenset({"stem"})


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (torch.randn(2, 3, 8, 8), ""),
        (torch.randn(2, 3, 8, 8) * 255, "not normalised"),
        (torch.randn(2, 3, 8, 8) + 100, "not normalised"),
        (torch.full((2, 3, 8, 8), -2.1), "next to no contrast"),
        (torch.tensor([[[[0.0, torch.inf]]]]), "no numbers"),
    ],
)
def test_pixels(images, words):
    check = pixels.check_pixels(images)
    assert words in check.warning
    assert bool(check.warning) == bool(words)
    assert check.verdict == ("look" if words else "fine")


@pytest.mark.parametrize(("mean", "std"), [(0.45, 0.225), (0.5, 0.5), (0.1307, 0.3081)])
@pytest.mark.parametrize("level", [0.0, 1.0])
def test_images_that_are_mostly_black_or_white_are_in_range(mean, std, level):
    # A tenth of the pixels is the other colour, under the statistics of ImageNet, Inception and MNIST.
    values = torch.cat([torch.full((900,), level), torch.full((100,), 1 - level)]).view(1, 1, 10, 100)
    assert pixels.check_pixels((values - mean) / std).warning == ""


def test_a_frozen_group_with_a_gradient_is_a_defect():
    with pytest.raises(TrainingError, match="frozen groups get a gradient") as caught:
        check_gradients({"stem": 0.0, "head": 1.0}, FreezePhase(0, FROZEN), 2, 2)
    assert caught.value.problems[0].found == "stem"


def test_many_groups_are_counted():
    norms = {f"blocks.{n}": 1.0 for n in range(12)}
    found = check_gradients(norms, FreezePhase(2, FROZEN), 9, 5)
    assert found.name == "gradient, epochs 3 to 5"
    assert found.found.startswith("reaches blocks.0 (1), ")
    assert "6 more, blocks.11 (1)" in found.found


def test_time_is_that_of_each_phase():
    phases = [FreezePhase(0, FROZEN), FreezePhase(2, frozenset())]
    spans = phase_epochs(phases, 5)
    assert spans == [(0, 2), (2, 5)]
    pace = Pace(steps=10, step_seconds=(0.5, 1.5), load_seconds=0.5)
    assert pace.epoch_seconds() == [10.0, 20.0]
    assert training_seconds(pace, spans) == 2 * 10 + 3 * 20
    found = check_time(pace, spans, is_cached=True).found
    assert found.startswith("2 s a step: 20 s an epoch of 10, 1 min 20 s for 5 epochs at most")
    assert found.endswith("less where activations are cached")


@pytest.mark.parametrize(
    ("needed", "there", "parts", "words"),
    [
        (10**9, 8 * 10**9, None, ""),
        (10**9, 0, None, ""),
        (79 * 10**8, 8 * 10**9, None, "7.9 GB of memory, of 8.0 GB"),
        (10**9, 8 * 10**9, 4, "holds 4 images of a batch at a time"),
    ],
)
def test_memory(needed, there, parts, words):
    warning = memory.decide_warning(needed, there, parts)
    assert words in warning
    assert bool(warning) == bool(words)


def test_it_comes_back_from_json():
    found = Preflight((Check("loss", "1.0", "about 1"), Check("time", "2 s", warning="slow")), {"loss": 1.0})
    assert Preflight.from_json(json.loads(json.dumps(found.to_json()))) == found
    assert found.warnings == ("slow",)
    assert [check.verdict for check in found.checks] == ["fine", "look"]
