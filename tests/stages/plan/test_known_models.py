"""A plan of a model that is known loads no torch, and says the very same; nothing that is kept can be old."""

import json
import os
import subprocess
import sys

import pytest
import yaml

from transferflow.spec import ExperimentSpec
from transferflow.stages.plan import known_models
from transferflow.stages.plan.known_models import MAX_ENTRIES, facts_key, load_facts, model_facts

CLASSES = ("a", "b")


@pytest.fixture
def sections(colour_folder):
    return {
        "name": "tiny",
        "task": {"kind": "classification"},
        "data": {"format": "image_folder", "root": str(colour_folder), "image_size": 64},
        "backbone": {"source": "package", "name": "tf_efficientnet_lite0"},
        "freeze": {
            "policy": "phases",
            "phases": [{"epochs": 2, "train": ["head"]}, {"epochs": 3, "train": ["*"]}],
        },
        "optimizer": {"lr": 1e-3, "layer_decay": 0.7},
    }


@pytest.fixture
def build(sections):
    return lambda **changes: ExperimentSpec.model_validate(sections | changes)


PLAN = """
import json, sys
from transferflow.spec.load import load_spec
from transferflow.stages.context import RunContext
from transferflow.stages.plan.compile import compile_plan
from transferflow.cli.plan_view import plan_view
from pathlib import Path

plan = compile_plan(load_spec(Path(sys.argv[1])), RunContext(Path(sys.argv[2])))
plan_view(plan)
print(json.dumps([plan.to_json(), "torch" in sys.modules]))
"""


def test_the_second_plan_is_the_first_without_torch(sections, tmp_path):
    spec = tmp_path / "spec.yaml"
    spec.write_text(yaml.safe_dump(sections))

    def plan():
        words = [sys.executable, "-c", PLAN, str(spec), str(tmp_path / "home")]
        done = subprocess.run(words, capture_output=True, text=True, check=True, env=dict(os.environ))
        return json.loads(done.stdout)

    (first, looked), (second, looked_again) = plan(), plan()
    assert (looked, looked_again) == (True, False)
    assert first == second


def test_facts_are_the_same_whether_they_were_known_or_not(build, tmp_path):
    first = model_facts(build(), CLASSES, tmp_path)
    (entry,) = tmp_path.glob("*.json")
    assert load_facts(entry) == first == model_facts(build(), CLASSES, tmp_path)


def test_each_thing_that_facts_follow_from_is_in_the_key(build, monkeypatch):
    before = facts_key(build(), CLASSES)
    assert before == facts_key(build(), CLASSES)
    others = [
        facts_key(build(), ("a", "c")),
        facts_key(build(head={"dropout": 0.5}), CLASSES),
        facts_key(build(optimizer={"lr": 2e-3, "layer_decay": 0.7}), CLASSES),
        facts_key(build(schedule={"kind": "cosine"}), CLASSES),  # the default, but not left open any more
    ]
    monkeypatch.setenv("TORCH_HOME", "elsewhere")
    others.append(facts_key(build(), CLASSES))
    monkeypatch.setattr(known_models, "version", lambda name: "0" if name == "timm" else "1")
    others.append(facts_key(build(), CLASSES))
    monkeypatch.setattr(known_models, "version", lambda name: "1")
    others.append(facts_key(build(), CLASSES))
    assert len({before, *others}) == 1 + len(others)


def test_a_changed_line_of_code_is_seen(build, tmp_path, monkeypatch):
    assert (known_models._CODE / "stages" / "plan" / "known_models.py").is_file()
    monkeypatch.setattr(known_models, "_CODE", tmp_path)
    keys = [facts_key(build(), CLASSES)]
    (tmp_path / "room").mkdir()
    for text in ("a = 1", "a = 2"):
        (tmp_path / "room" / "module.py").write_text(text)
        keys.append(facts_key(build(), CLASSES))
    assert len(set(keys)) == 3


DAMAGES = {
    "cut": lambda content: content[:-9],
    "a digit": lambda content: content.replace(b'"parameters":', b'"parameters":1', 1),
    "nothing left": lambda content: b"",
}


def test_what_is_damaged_is_looked_up_anew(build, tmp_path):
    right = model_facts(build(), CLASSES, tmp_path)
    (entry,) = tmp_path.glob("*.json")
    whole = entry.read_bytes()
    for damage in DAMAGES.values():
        entry.write_bytes(damage(whole))
        assert load_facts(entry) is None
    assert model_facts(build(), CLASSES, tmp_path) == right
    assert entry.read_bytes() == whole


def test_a_plan_needs_no_room(build, tmp_path):
    (tmp_path / "models").write_text("a file where the folder would be")
    assert model_facts(build(), CLASSES, tmp_path / "models").training.rows


def test_a_file_of_the_users_own_is_always_looked_at(build, tmp_path):
    mine = {"source": "checkpoint", "name": "resnet18", "weights": str(tmp_path / "mine.pth")}
    model_facts(build(backbone=mine), CLASSES, tmp_path / "models")
    assert not (tmp_path / "models").exists()


def test_only_so_many_are_kept(build, tmp_path):
    for number in range(MAX_ENTRIES + 5):
        (tmp_path / f"{number}.json").write_text("x")
        os.utime(tmp_path / f"{number}.json", (number, number))
    model_facts(build(), CLASSES, tmp_path)
    left = {path.stem for path in tmp_path.glob("*.json")}
    assert len(left) == MAX_ENTRIES
    assert facts_key(build(), CLASSES) in left
    assert "5" not in left
    assert "6" in left
