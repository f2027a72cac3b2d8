"""The plan says what is computed once, how large it is, and what it saves."""

import pytest

from transferflow.models.weights.needed import NeededWeights
from transferflow.spec import ExperimentSpec
from transferflow.stages.plan.caching import plan_caches
from transferflow.stages.plan.facts import ModelFacts
from transferflow.stages.plan.look import find_cuts
from transferflow.stages.train.training_plan import compile_training_plan
from transferflow.tasks.build import build_parts

IMAGES = {"train": 100, "val": 50}


@pytest.fixture
def planned():
    def plan(is_varied=False, **sections):
        document = {
            "name": "tiny",
            "task": {"kind": "classification"},
            "data": {"format": "image_folder", "root": "."},
            "backbone": {"source": "package", "name": "tf_efficientnet_lite0"},
            "freeze": {"policy": "backbone"},
            "training": {"epochs": 10, **sections.pop("training", {})},
            **sections,
        }
        spec = ExperimentSpec.model_validate(document)
        parts = build_parts(spec, ("a", "b"), pretrained=False, device="meta")
        training = compile_training_plan(spec, parts)
        cuts = find_cuts(parts, training.freeze, (3, 64, 64))
        facts = ModelFacts(NeededWeights(None, ()), training, cuts, is_varied, {}, ())
        return plan_caches(spec, facts, IMAGES)

    return plan


def test_a_frozen_backbone_is_computed_once(planned):
    (found,) = planned()
    assert (found.views, found.boundary, found.reason) == (1, ("backbone",), "")
    assert found.bytes == 150 * 1280 * 4
    assert found.share > 0.99
    assert 9.9 < found.times <= 10  # one pass instead of ten


def test_varied_images_are_not_unless_views_are_asked_for(planned):
    (found,) = planned(is_varied=True)
    assert (found.views, found.bytes) == (None, 50 * 1280 * 4)
    assert found.times == pytest.approx(15 / 10.5, rel=0.01)  # half as many validation images
    assert found.views_times == pytest.approx(15 / 4.5, rel=0.01)
    (found,) = planned(is_varied=True, training={"activation_cache": {"views": 4}})
    assert (found.views, found.bytes) == (4, 450 * 1280 * 4)


def test_phases_are_planned_one_by_one(planned):
    phases = [{"epochs": 4, "train": ["head"]}, {"epochs": 1, "train": ["blocks.6", "head"]}]
    phases.append({"epochs": 5, "train": ["*"]})
    first, second, third = planned(freeze={"policy": "phases", "phases": phases})
    assert (first.epochs, first.views) == (4, 1)
    assert second.reason == "the phase has one epoch"
    assert "comes first" in third.reason


def test_it_can_be_turned_off(planned):
    assert planned(training={"activation_cache": "off"})[0].reason == "it is off"
