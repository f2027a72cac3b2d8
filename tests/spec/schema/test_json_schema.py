from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator

from transferflow.spec.examples import FIELD_EXAMPLES, SPEC_EXAMPLE
from transferflow.spec.load import PRESETS, check_document, preset_names, read_document
from transferflow.spec.schema.json_schema import spec_schema
from transferflow.spec.yaml.reader import read_yaml
from transferflow.spec.yaml.tree import plain

SPECS = sorted((Path(__file__).parents[3] / "specs").rglob("*.yaml"))


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    return spec_schema()


@pytest.fixture(scope="module")
def is_valid(schema: dict[str, Any]) -> Callable[[str], bool]:
    validator = Draft7Validator(schema)

    def _is_valid(text: str) -> bool:
        node, problems = read_yaml(text, "f")
        assert node is not None
        assert not problems
        return bool(validator.is_valid(plain(node)))

    return _is_valid


def test_it_is_a_schema(schema: dict[str, Any]) -> None:
    Draft7Validator.check_schema(schema)


def test_it_holds_no_vocabulary_that_draft_7_ignores(schema: dict[str, Any]) -> None:
    for key, parent in _keys(schema):
        assert key not in ("prefixItems", "discriminator", "oneOf", "$defs", "unevaluatedProperties")
        if key == "$ref":
            assert set(parent) == {"$ref"}


def _keys(value: object) -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key, value
            yield from _keys(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _keys(inner)


def test_everything_is_described(schema: dict[str, Any]) -> None:
    for name, definition in schema["definitions"].items():
        assert definition["description"], name
        for key, value in definition.get("properties", {}).items():
            assert value["description"], f"{name}.{key}"


@pytest.mark.parametrize("path", SPECS, ids=lambda p: p.name)
def test_specs_that_run_are_valid(path: Path, is_valid: Callable[[str], bool]) -> None:
    _, problems = check_document(read_document(path))
    assert not problems
    assert is_valid(path.read_text())


@pytest.mark.parametrize("name", preset_names())
def test_presets_are_valid_as_something_that_extends(name: str, is_valid: Callable[[str], bool]) -> None:
    assert is_valid((PRESETS / f"{name}.yaml").read_text() + "\nextends: base.yaml\n")


def test_the_example_is_valid_and_loads(schema: dict[str, Any], write: Callable[..., Path]) -> None:
    import yaml

    Draft7Validator(schema).validate(SPEC_EXAMPLE)
    _, problems = check_document(read_document(write(yaml.safe_dump(SPEC_EXAMPLE))))
    assert not problems


def test_examples_of_keys_are_valid(schema: dict[str, Any]) -> None:
    for model, fields in FIELD_EXAMPLES.items():
        properties = schema["definitions"][model]["properties"]
        for key, examples in fields.items():
            validator = Draft7Validator({**properties[key], "definitions": schema["definitions"]})
            for example in examples:
                validator.validate(example)


GOOD_LINES = [
    "",
    "training:",
    "optimizer: {lr: null}",
    "data: {format: image_folder, root: d, cache: null}",
    "optimizer: {lr: 1e-4, layer_lr: {layer4: 1E-3}}",
    "optimizer: {kind: sgd}",
    "optimizer: {betas: [0.9, 0.99]}",
    "schedule: {}",
    "head: {hidden: [64, 32]}",
    "head: {init: zero, warm_start: champion}",
    "freeze: {policy: phases, phases: [{epochs: 1, train: [head]}, {epochs: 1, train: ['*']}]}",
    "freeze: {policy: until, until: layer2, batch_norm: all_frozen}",
    "augmentation: {}",
    "augmentation: {mixup: 0.2}",
    "augmentation: {transforms: [{name: A}, {one_of: [{name: B}, {name: C, args: {x: [1, null]}}]}]}",
    "training: {workers: 4, class_weights: balanced, early_stopping: {}}",
    "training: {workers: auto, class_weights: {a: 1, b: 2.5}, early_stopping: null}",
    "registration: {gate: {against_champion: null}}",
    "deployment: {schedule: {cron: 0 3 * * 1}, refresh: {poll: '0 * * * *'}}",
    "deployment: {schedule: {interval: 6h, timezone: Europe/Zurich}, refresh: {poll: 30m}}",
    "execution: {prepare: {kind: dask, address: 'tcp://10.0.0.7:8786'}}",
    "deployment: {schedule: {rrule: FREQ=MONTHLY;BYDAY=1MO}}",
    "data: {format: csv, root: d, file: f.csv, columns: {path: p}}",
    "data: {format: dicom, root: d, intensity: {kind: window, level: 40, width: 400}}",
    "backbone: {source: timm, name: vit_tiny, weights: none}",
    "backbone: {source: timm, name: vit_tiny, normalization: {mean: [0, 0, 0], std: [1, 1, 1]}}",
    "backbone: {source: checkpoint, name: resnet50, weights: a.pt, key_map: {a: b}}",
]
BAD_LINES = [
    "optimiser: {}",
    "optimizer: {kind: adam}",
    "optimizer: {momentum: 0.9}",
    "optimizer: {lr: fast}",
    "optimizer: {lr: 0}",
    "optimizer: {betas: [0.9]}",
    "optimizer: {layer_lr: {layer1: x}}",
    "schedule: cosine",
    "head: {kind: linar}",
    "head: {dropout: 1.5}",
    "freeze: {policy: until}",
    "freeze: {policy: layers, layers: layer1}",
    "freeze: {until: layer2}",
    "augmentation: {preset: none, transforms: [{name: A}]}",
    "augmentation: {transforms: []}",
    "augmentation: {transforms: [{one_of: [{name: B}]}]}",
    "training: {epochs: -1}",
    "training: {epochs: ten}",
    "training: {workers: many}",
    "training: {class_weights: equal}",
    "registration: {model: Birds}",
    "deployment: {schedule: {timezone: UTC}}",
    "data: {format: csv, root: d}",
    "data: {format: image_folder}",
    "data: {root: d}",
    "data: {format: zip, root: d}",
    "backbone: {source: torchvision, name: resnet51}",
    "name: Big Name",
]


def _with(good: str, line: str) -> str:
    """The good spec with the line's section in place of its own."""
    section = line.partition(":")[0]
    node, _ = read_yaml(good, "f")
    assert node is not None
    data = plain(node)
    assert isinstance(data, dict)
    rest = "".join(f"{key}: {_flow(value)}\n" for key, value in data.items() if key != section)
    return rest + line + "\n"


def _flow(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_flow(item)}" for key, item in value.items()) + "}"
    return str(value)


@pytest.mark.parametrize("line", GOOD_LINES)
def test_what_loads_is_valid(
    line: str, good: str, is_valid: Callable[[str], bool], problems_of: Callable[..., tuple[object, ...]]
) -> None:
    text = _with(good, line)
    assert not problems_of(text)
    assert is_valid(text)


@pytest.mark.parametrize("line", BAD_LINES)
def test_what_does_not_load_is_not_valid(
    line: str, good: str, is_valid: Callable[[str], bool], problems_of: Callable[..., tuple[object, ...]]
) -> None:
    text = _with(good, line)
    assert problems_of(text)
    assert not is_valid(text)


def test_required_keys_may_come_from_what_is_extended(is_valid: Callable[[str], bool]) -> None:
    assert is_valid("extends: base.yaml\n")
    assert is_valid("extends: preset:medical\nname: x\ndata: {channels: 2}\nfreeze: {batch_norm: train}\n")
    assert not is_valid("name: x\n")
    assert not is_valid("extends: preset:medcal\n")
    assert not is_valid("extends: base.yaml\ndata: {chanels: 2}\n")
    assert not is_valid("extends: [a.yaml]\n")
