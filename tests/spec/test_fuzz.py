"""Specs broken by chance: whatever is done to a file, it loads or gives problems with places."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from transferflow.spec.examples import SPEC_EXAMPLE
from transferflow.spec.experiment import ExperimentSpec
from transferflow.spec.load import check_document, load_spec, read_document
from transferflow.spec.yaml.tree import Plain

RICH = """\
name: chest-xray
task: {kind: classification, multilabel: true}
data:
  format: csv
  root: data/xrays
  file: labels.csv
  columns: {path: image, label: finding}
  classes: [no, yes, unknown]
  channels: 1
  image_size: 224
  split: {train: 0.8, val: 0.1, test: 0.1, group_by: patient_id}
  intensity: {kind: window, level: 40, width: 400}
backbone:
  source: checkpoint
  name: resnet50
  weights: https://host/model.safetensors
  sha256: &hash 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
  normalization: {mean: [0.5], std: [0.25]}
freeze:
  policy: phases
  phases:
    - {epochs: 3, train: [head]}
    - {epochs: 5, train: [layer4, head], lr_scale: 0.3}
head: {dropout: 0.5, hidden: [64], init: zero}
optimizer: {kind: sgd, lr: 1e-3, layer_lr: {layer4: 3e-4}, momentum: 0.8}
schedule: {kind: cosine, warmup_epochs: 1}
augmentation:
  mixup: 0.2
  transforms:
    - {name: HorizontalFlip}
    - one_of: [{name: Blur}, {name: Rotate, args: {limit: [-15, 15]}}]
training: {epochs: 20, workers: auto, early_stopping: {metric: auroc}, class_weights: {no: 1, yes: 2.5}}
evaluation: {metrics: [auroc, accuracy], bootstrap: 100}
registration: {model: chest-xray, gate: {metric: auroc, minimum: 0.9, against_champion: null}}
deployment:
  schedule: {cron: "0 3 * * 1", timezone: Europe/Zurich}
  refresh: {poll: "*/30 * * * *", min_changed: 50}
"""
# file:line:column, or an override, and then maybe the key path.
_PLACE = re.compile(r"(spec\.yaml:\d+:\d+|--set .*)(: .+)?", re.DOTALL)
_MANY = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


def check(folder: Path, text: str, overrides: tuple[str, ...] = ()) -> None:
    """Load the text: a spec comes out, or a SpecError whose problems all have a place."""
    path = folder / "spec.yaml"
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    spec, problems = check_document(read_document(path, overrides))
    assert isinstance(spec, ExperimentSpec) != bool(problems)
    for problem in problems:
        assert problem.what
        assert _PLACE.fullmatch(problem.where.replace(f"{folder}/", "")), problem.where
        assert not re.search("pydantic|Input should|Value error", str(problem))


def test_the_seed_is_good(folder: Path) -> None:
    (folder / "spec.yaml").write_text(RICH)
    spec = load_spec(folder / "spec.yaml")
    assert spec.training.class_weights == {"no": 1.0, "yes": 2.5}


_WORDS = "null no 3 -1 1e400 .nan 0 [] {} 'x' *hash *none true none backbone sgd layers zero_shot csv 2.0 - |"
_PHRASES = ("", "- x", "!!int 3", "&a [*a]", "[1, [2]]", "{a: {b: c}}", "{kind: sgd}", "{policy: until}")
_VALUES = st.sampled_from([*_WORDS.split(), *_PHRASES])


@_MANY
@given(st.data())
def test_values_replaced(folder: Path, data: st.DataObject) -> None:
    pieces = re.split(r"((?<=: )[^\n:,{}\[\]]+)", RICH)
    places = range(1, len(pieces), 2)
    for place in data.draw(st.lists(st.sampled_from(places), min_size=1, max_size=4)):
        pieces[place] = data.draw(_VALUES)
    check(folder, "".join(pieces))


@_MANY
@given(st.data())
def test_keys_renamed(folder: Path, data: st.DataObject) -> None:
    keys = [m.span() for m in re.finditer(r"[a-z_0-9]+(?=: )", RICH)]
    start, end = data.draw(st.sampled_from(keys))
    names = st.sampled_from(
        ["", "kind", "<<", "extends", "x", "lr", "'a b'", "? ", "[1]", "name", "policy", "*hash"]
    )
    check(folder, RICH[:start] + data.draw(names) + RICH[end:])


@_MANY
@given(st.data())
def test_lines_lost_doubled_and_moved(folder: Path, data: st.DataObject) -> None:
    lines = RICH.splitlines(keepends=True)
    for _ in range(data.draw(st.integers(1, 3))):
        line = lines.pop(data.draw(st.integers(0, len(lines) - 1)))
        for _ in range(data.draw(st.integers(0, 2))):
            indent = " " * data.draw(st.integers(0, 4))
            lines.insert(data.draw(st.integers(0, len(lines))), indent + line.lstrip())
    check(folder, "".join(lines))


@_MANY
@given(
    st.integers(0, len(RICH) - 1),
    st.sampled_from(list(":{}[],&*!|>'\"%@#\n\t -?~\0\x1b\u2028é")),
    st.booleans(),
)
def test_characters_changed(folder: Path, place: int, character: str, insert: bool) -> None:
    check(folder, RICH[:place] + character + RICH[place + (not insert) :])


@_MANY
@given(st.integers(0, len(RICH)))
def test_files_cut_short(folder: Path, end: int) -> None:
    check(folder, RICH[:end])


_STEPS = "training epochs freeze phases 0 9 kind data optimizer layer_lr policy transforms args root x"
_PATHS = st.lists(st.sampled_from([*_STEPS.split(), '"a.b"']), min_size=1, max_size=5).map(".".join)


@_MANY
@given(st.lists(st.tuples(_PATHS, _VALUES).map("=".join), min_size=1, max_size=3))
def test_overrides_at_random(folder: Path, overrides: list[str]) -> None:
    check(folder, RICH, tuple(overrides))


@_MANY
@given(st.text(max_size=40))
def test_overrides_of_any_text(folder: Path, override: str) -> None:
    check(folder, RICH, (override,))


def _paths(value: Plain, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    if isinstance(value, dict):
        return [path, *(p for key, item in value.items() for p in _paths(item, (*path, key)))]
    return [path]


@pytest.mark.parametrize("path", [p for p in _paths(SPEC_EXAMPLE) if p], ids=".".join)
@pytest.mark.parametrize("value", ["{}", "[]", "x", "3", "null", "{x: 1}"])
def test_every_section_of_the_example_replaced(folder: Path, path: tuple[str, ...], value: str) -> None:
    example: dict[str, Any] = {key: item for key, item in SPEC_EXAMPLE.items() if key != "extends"}
    check(folder, yaml.safe_dump(example), (f"{'.'.join(path)}={value}",) if path[0] != "extends" else ())
