import json
import os
import stat
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from transferflow.errors import StoreError
from transferflow.spec.load import load_spec
from transferflow.spec.sections.training import Training
from transferflow.stages.split_images import eval_transform_of
from transferflow.tasks.build import build_parts
from transferflow.tasks.bundle import load_bundle, read_min_score, save_bundle
from transferflow.tasks.bundle_files import write_description

SEALS = ("format", "weights", "sha256")
"""What `write_description` adds."""
SPECS = sorted((Path(__file__).parents[2] / "specs").glob("*.yaml"))


@pytest.fixture
def save(build_spec, tmp_path):
    """Write a bundle of a model that was never trained; return its folder, spec and model."""

    def run(folder=None):
        spec = build_spec()
        parts = build_parts(spec, ("a", "b"), pretrained=False)
        folder = folder or tmp_path / "bundle"
        folder.mkdir(exist_ok=True)
        transform = eval_transform_of(spec, parts.preprocessing)
        save_bundle(folder, spec, ("a", "b"), transform, parts.model, min_score=0.25)
        return folder, spec, parts.model

    return run


def test_a_bundle_gives_back_what_was_saved(save):
    folder, spec, model = save()
    bundle = load_bundle(folder)
    assert (bundle.spec, bundle.classes, bundle.min_score) == (spec, ("a", "b"), 0.25)
    assert read_min_score(folder) == 0.25
    for name, value in model.state_dict().items():
        assert torch.equal(bundle.model.state_dict()[name], value)


def test_defaults_of_a_later_version_do_not_change_an_old_model(save):
    folder, _, _ = save()
    stored = json.loads((folder / "model.json").read_text())["spec"]
    assert stored["training"]["seed"] == Training().seed
    assert stored["freeze"]["policy"] == "none"
    assert stored["data"]["intensity"] == {"kind": "full_range"}
    assert stored["registration"]["gate"]["against_champion"]["confidence"] == 0.95


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_a_spec_with_its_defaults_written_out_is_the_same_spec(path):
    spec = load_spec(path)
    assert type(spec).model_validate(spec.model_dump(mode="json")) == spec


def _flip(path, place):
    content = bytearray(path.read_bytes())
    content[place % len(content)] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("place", [5, 1000, -1])
@pytest.mark.parametrize("name", ["model.json", "weights.safetensors"])
def test_a_flipped_bit_is_found_before_anything_is_predicted(save, name, place):
    folder, _, _ = save()
    _flip(folder / name, place)
    with pytest.raises(StoreError, match="the model bundle is damaged"):
        load_bundle(folder)


def test_what_is_missing_is_named(save, tmp_path):
    folder, _, _ = save()
    (folder / "weights.safetensors").unlink()
    with pytest.raises(StoreError, match=r"weights\.safetensors is missing"):
        load_bundle(folder)
    with pytest.raises(StoreError, match=r"model\.json is missing"):
        load_bundle(tmp_path)


def test_files_follow_the_umask(save):
    former = os.umask(0o027)
    try:
        folder, _, _ = save()
    finally:
        os.umask(former)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert modes == {"weights.safetensors": 0o640, "model.json": 0o640}


WRONG = [
    ("classes", [{}, "b"]),
    ("classes", ["a", 1]),
    ("classes", ["a", ""]),
    ("min_score", "high"),
    ("min_score", 1.5),
    ("eval_transform.std", [0.0, 0.2, 0.2]),
    ("eval_transform.mean", [0.5, 0.5]),
    ("eval_transform.std", [0.2]),
    ("eval_transform.channels", 2**70),
    ("eval_transform.channels", True),
    ("eval_transform.resize", [-1, 32]),
    ("eval_transform.image_size", [32, 2]),
    ("eval_transform.image_size", [32, 100_000]),
]


@pytest.mark.parametrize(("key", "value"), WRONG, ids=[f"{key} {str(value)[:20]}" for key, value in WRONG])
def test_a_description_that_makes_no_sense_is_refused_whatever_its_hash(save, key, value):
    folder, _, _ = save()
    description = json.loads((folder / "model.json").read_text())
    inner, place = description, key.split(".")
    for step in place[:-1]:
        inner = inner[step]
    inner[place[-1]] = value
    write_description(folder, {key: value for key, value in description.items() if key not in SEALS})
    with pytest.raises(StoreError, match="the model can't be rebuilt from its bundle"):
        load_bundle(folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_answer_nothing(save, value):
    folder, _, model = save()
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    name = list(dict(model.named_parameters()))[-1]
    state[name].view(-1)[0] = value
    save_file(state, folder / "weights.safetensors")
    description = json.loads((folder / "model.json").read_text())
    write_description(folder, {key: value for key, value in description.items() if key not in SEALS})
    with pytest.raises(StoreError, match="the model can't be rebuilt from its bundle") as caught:
        load_bundle(folder)
    assert f"{name} holds values that are not finite" in caught.value.problems[0].found
