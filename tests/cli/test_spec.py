from __future__ import annotations

import json
from pathlib import Path

import pytest
from jsonschema import Draft7Validator

from transferflow.cli.main import main

GOOD = """\
name: birds
task: {kind: classification}
data: {format: image_folder, root: data/birds}
backbone: {source: torchvision, name: resnet50}
"""


@pytest.fixture(autouse=True)
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(name: str, text: str) -> None:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_good_specs_are_ok(capsys: pytest.CaptureFixture[str]) -> None:
    write("specs/a.yaml", GOOD)
    write("specs/deep/b.yml", GOOD)
    write("specs/.hidden/c.yaml", "- not a spec")
    write("specs/notes.txt", "- not a spec")
    assert main(["validate", "specs"]) == 0
    out = capsys.readouterr().out
    assert out.splitlines() == ["ok     specs/a.yaml", "ok     specs/deep/b.yml", "", "all 2 specs are ok"]


def test_one_bad_spec_fails_with_code_2_and_every_problem(capsys: pytest.CaptureFixture[str]) -> None:
    write("specs/a.yaml", GOOD)
    write("specs/b.yaml", GOOD + "training: {epochs: -1}\nfoo: 1\n")
    assert main(["validate", "specs"]) == 2
    out = capsys.readouterr().out
    assert "ok     specs/a.yaml\nfailed specs/b.yaml\n" in out
    assert "error: specs/b.yaml:5:20: training.epochs: is too small" in out
    assert "error: specs/b.yaml:6:1: foo: unknown key" in out
    assert out.endswith("1 of 2 specs failed, 2 problems\n")


def test_files_are_checked_once(capsys: pytest.CaptureFixture[str]) -> None:
    write("specs/a.yaml", GOOD)
    assert main(["validate", "specs", "specs/a.yaml"]) == 0
    assert capsys.readouterr().out.count("a.yaml") == 1


def test_a_file_that_is_only_extended_need_not_be_complete(capsys: pytest.CaptureFixture[str]) -> None:
    write("specs/base.yaml", "training: {epochs: 3}\n")
    write("specs/a.yaml", "extends: base.yaml\n" + GOOD)
    assert main(["validate", "specs"]) == 0
    assert main(["validate", "specs/base.yaml"]) == 2
    write("specs/base.yaml", "training: {epochs: -1}\n")
    capsys.readouterr()
    assert main(["validate", "specs"]) == 2
    assert "specs/base.yaml:1:20 (extended by specs/a.yaml): training.epochs" in capsys.readouterr().out


def test_what_is_not_there_and_empty_folders_fail(capsys: pytest.CaptureFixture[str]) -> None:
    Path("empty").mkdir()
    assert main(["validate", "empty"]) == 2
    assert "no specs found" in capsys.readouterr().out
    assert main(["validate", "none.yaml"]) == 2
    assert "there is no such file" in capsys.readouterr().out


def test_overrides_are_checked_too(capsys: pytest.CaptureFixture[str]) -> None:
    write("a.yaml", GOOD)
    assert main(["validate", "a.yaml", "--set", "training.epochs=3"]) == 0
    assert main(["validate", "a.yaml", "--set", "training.epochs=-1"]) == 2
    assert "--set training.epochs=-1: training.epochs" in capsys.readouterr().out


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    write("a.yaml", GOOD)
    write("b.yaml", GOOD + "training: {epoch: 0}\n")
    assert main(["validate", ".", "--json"]) == 2
    answer = json.loads(capsys.readouterr().out)
    assert answer["ok"] is False
    assert [(row["file"], row["ok"]) for row in answer["specs"]] == [("a.yaml", True), ("b.yaml", False)]
    (problem,) = answer["specs"][1]["problems"]
    assert problem["where"] == "b.yaml:5:12: training.epoch"
    assert problem["hint"] == "did you mean `epochs`?"


def test_named_transforms_are_checked(capsys: pytest.CaptureFixture[str]) -> None:
    write("a.yaml", GOOD + "augmentation: {transforms: [{name: HorizontalFlop}]}\n")
    assert main(["validate", "a.yaml"]) == 2
    out = capsys.readouterr().out
    assert "a.yaml:5:36: augmentation.transforms.0.name" in out
    assert "HorizontalFlip" in out


def test_content_of_a_file_can_not_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    write("a.yaml", GOOD + 'training: {epochs: "\\e[2J[bold]"}\n')
    assert main(["validate", "a.yaml"]) == 2
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "[bold]" in out


def test_the_schema_is_printed_and_written(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0
    printed = json.loads(capsys.readouterr().out)
    Draft7Validator.check_schema(printed)
    assert main(["schema", "--output", "deep/spec.schema.json"]) == 0
    assert json.loads(Path("deep/spec.schema.json").read_text()) == printed
    assert "# yaml-language-server: $schema=deep/spec.schema.json" in capsys.readouterr().out


def test_a_schema_that_can_not_be_written_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    Path("file").write_text("")
    assert main(["schema", "--output", "file/x.json"]) == 1
    assert "can't be written" in capsys.readouterr().err
