import pytest

from transferflow.spec import ExperimentSpec
from transferflow.stages.plan.look import look_at_model
from transferflow.stages.plan.warnings import collect_warnings

RESNET = {"source": "torchvision", "name": "resnet50"}
DATA = {
    "classification": {"format": "image_folder"},
    "detection": {"format": "coco", "annotations": "a.json"},
    "segmentation": {"format": "mask_folder"},
}


def warnings(kind="classification", channels=1, images=None, **sections):
    document = {
        "name": "gray",
        "task": {"kind": kind},
        "data": {"root": "images", "channels": channels, "image_size": 64, **DATA[kind]},
        "backbone": RESNET,
    }
    spec = ExperimentSpec.model_validate(document | sections)
    facts = look_at_model(spec, ("a", "b"))
    return collect_warnings(spec, facts, images or {"train": 5000}, will_train=False)


@pytest.mark.parametrize(
    "sections",
    [
        {"freeze": {"policy": "backbone"}},
        {"freeze": {"policy": "layers", "layers": ["conv1"]}},
        {"freeze": {"policy": "none", "batch_norm": "all_frozen"}},
        {"channels": 13, "freeze": {"policy": "until", "until": "layer2"}},
        {"backbone": {"source": "torchvision", "name": "vit_b_16"}},
        {"kind": "segmentation"},  # its encoder is frozen by default
        {"kind": "segmentation", "head": {"kind": "lite"}},
        {"kind": "detection", "freeze": {"policy": "layers", "layers": ["conv1"]}},
        {"kind": "detection", "head": {"kind": "fcos"}},  # torchvision's has frozen batch norm
    ],
)
def test_mean_is_warned_about_where_nothing_restores_the_activations(sections):
    (found,) = warnings(**sections)
    assert found.startswith(
        f"channel_adaptation mean scales the first activations by about {sections.get('channels', 1)}/3"
    )


@pytest.mark.parametrize(
    "sections",
    [
        {},
        {"channels": 3, "freeze": {"policy": "backbone"}},
        {"freeze": {"policy": "layers", "layers": ["layer1", "layer2"]}},  # the medical preset
        {"freeze": {"policy": "backbone", "batch_norm": "train"}},
        {"freeze": {"policy": "backbone"}, "backbone": {**RESNET, "channel_adaptation": "sum"}},
        {"backbone": {"source": "torchvision", "name": "convnext_tiny"}},
        {"backbone": {"source": "torchvision", "name": "vit_b_16", "weights": "none"}},
        {"kind": "detection"},
    ],
)
def test_mean_is_not_warned_about_where_a_norm_follows_or_nothing_is_adapted(sections):
    assert warnings(**sections) == ()


def test_features_of_another_activation_are_warned_about():
    clip = {"source": "timm", "name": "vit_base_patch32_clip_224", "weights": "openai"}
    (found,) = warnings(channels=3, backbone=clip, data={**DATA["classification"], "root": "images"})
    assert "trained with QuickGELU: take vit_base_patch32_clip_quickgelu_224" in found
    for known in ({"name": "vit_base_patch32_clip_quickgelu_224"}, {"weights": "laion2b"}):
        section = clip | known
        assert warnings(backbone=section, data={**DATA["classification"], "root": "images"}) == ()


def test_batch_norm_that_sees_a_share_of_the_batch_is_warned_about():
    several = {"channels": 3, "training": {"devices": 4}}
    assert any("batch norm that trains sees 8 images at a time" in text for text in warnings(**several))
    for quiet in (
        {"training": {"devices": 4, "sync_batch_norm": True}},
        {"freeze": {"policy": "none", "batch_norm": "all_frozen"}},
        {"training": {}},
    ):
        assert not any("batch norm that trains" in text for text in warnings(**(several | quiet)))


def test_fewer_than_30_images_measure_little():
    found = warnings(channels=3, images={"train": 5000, "val": 29, "test": 30})
    assert found == ("only 29 val images: the metrics will have wide intervals",)
    assert len(warnings(channels=3, images={"train": 5000, "val": 1, "test": 29})) == 2
    assert warnings(channels=3, images={"train": 5000, "val": 0, "test": 0}) == ()


def test_what_trains_nothing_is_not_told_how_to_train():
    few, rare = {"train": 100}, {"registration": {"gate": {"metric": "ece"}}}
    found = warnings(channels=3, images=few, **rare)
    assert [text.partition(":")[0] for text in found] == [
        "100 training images for full fine-tuning at one rate",
        "the epoch with the least ece is kept, which may be one that has learned little",
    ]
    data = {"root": "images", "classes": ["tench", "goldfish"], **DATA["classification"]}
    as_it_is = {"training": {"epochs": 0}, "head": {"init": "prototypes"}}
    assert warnings(channels=3, images=few, data=data, **as_it_is, **rare) == ()
