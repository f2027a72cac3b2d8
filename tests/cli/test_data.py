from __future__ import annotations

import json
import os

import pytest

from transferflow.cli.main import main
from transferflow.data.listing import load_listing
from transferflow.data.snapshot.build import build_snapshot
from transferflow.spec.load import load_spec
from transferflow.stages.context import RunContext
from transferflow.stages.prepare import prepare
from transferflow.store import ArtifactStore


@pytest.fixture
def spec_file(colour_folder, tmp_path):
    file = tmp_path / "spec.yaml"
    file.write_text(
        f"name: x\ntask: {{kind: classification}}\n"
        f"data: {{format: image_folder, root: {colour_folder}, near_duplicates: ignore}}\n"
        "backbone: {source: torchvision, name: resnet18}\n"
    )
    return file


def test_check_lists_findings(spec_file, colour_folder, tmp_path, capsys):
    assert main(["data", "check", str(spec_file), "--home", str(tmp_path / "home")]) == 0
    (colour_folder / "red" / "00.png").write_bytes(b"<html>\x1b[31m")
    assert main(["data", "check", str(spec_file), "--home", str(tmp_path / "home")]) == 1
    shown = capsys.readouterr().out
    assert "not_an_image" in shown
    assert "too_many_bad" in shown
    assert "\x1b[31m" not in shown


def test_check_groups_findings_by_kind_and_says_how_to_see_all(spec_file, colour_folder, tmp_path, capsys):
    for number in range(5):
        (colour_folder / "red" / f"{number:02}.png").write_bytes(b"")
    command = [
        "data",
        "check",
        str(spec_file),
        "--home",
        str(tmp_path / "home"),
        "--set",
        "data.max_bad_fraction=1",
    ]
    assert main(command) == 0
    lines = capsys.readouterr().out.splitlines()
    start = lines.index("quarantine  empty_file: 5")
    files = [line.strip() for line in lines[start + 1 : start + 5]]
    assert files == [*(f"red/0{n}.png: the file is empty" for n in range(3)), "… and 2 more"]
    assert lines[-1] == "all of them: --limit 5, or --json for machines"
    assert main([*command, "--limit", "5"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum("the file is empty" in line for line in lines) == 5
    assert not any("more" in line or "--limit" in line for line in lines)


def test_check_json(spec_file, colour_folder, tmp_path, capsys):
    (colour_folder / "red" / "00.png").write_bytes(b"")
    assert main(["data", "check", str(spec_file), "--json", "--home", str(tmp_path / "home")]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["ok"] is False
    assert report["images"] == 60
    assert {"kind": "empty_file", "severity": "quarantine"}.items() <= report["findings"][1].items()


def test_check_counts_classes_per_split(spec_file, colour_folder, tmp_path, capsys):
    command = ["data", "check", str(spec_file), "--home", str(tmp_path / "home")]
    main([*command, "--json"])
    report = json.loads(capsys.readouterr().out)
    assert sum(report["splits"].values()) == 60
    assert [sum(report["class_counts"][split].values()) for split in report["splits"]] == list(
        report["splits"].values()
    )
    main(command)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["train", "val", "test"] in lines
    assert ["images", *map(str, report["splits"].values())] in lines
    for name in report["classes"]:
        assert [name, *(str(report["class_counts"][split][name]) for split in report["splits"])] in lines


def test_check_names_files_that_changed_unseen(spec_file, colour_folder, tmp_path, capsys):
    spec, home = load_spec(spec_file), tmp_path / "home"
    prepare(spec, RunContext(home))
    file = colour_folder / "red" / "00.png"
    status, content = file.stat(), file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    command = ["data", "check", str(spec_file), "--home", str(home), "--json"]
    main(command)
    assert "changed_file" not in {f["kind"] for f in json.loads(capsys.readouterr().out)["findings"]}
    main([*command, "--verify"])
    found = json.loads(capsys.readouterr().out)["findings"]
    assert [f["where"] for f in found if f["kind"] == "changed_file"] == ["red/00.png"]


def test_check_of_a_missing_folder_is_a_message(spec_file, tmp_path, capsys):
    assert main(["data", "check", str(spec_file), "--set", f"data.root={tmp_path / 'none'}"]) == 1
    assert "does not exist" in capsys.readouterr().err


def test_diff_of_folders_and_keys(build_spec, colour_folder, tmp_path, capsys):
    spec = build_spec()
    store = ArtifactStore(tmp_path / "home")

    def publish(key):
        def write(folder):
            build_snapshot(spec.data, spec.task.truth, load_listing(spec.data, spec.task.truth), folder)

        return store.obtain("prepare", key * 64, {}, write)

    publish("a")
    (colour_folder / "red" / "00.png").rename(colour_folder / "blue" / "red.png")
    new = publish("b")
    assert main(["data", "diff", "aaaaaaaa", str(new.path), "--home", str(tmp_path / "home")]) == 0
    shown = capsys.readouterr().out
    assert "relabelled: 1" in shown
    assert "blue/red.png: red → blue" in shown
    assert "chi-square" in shown
    assert main(["data", "diff", "aaaaaaaa", "bbbbbbbb", "--json", "--home", str(tmp_path / "home")]) == 0
    assert json.loads(capsys.readouterr().out)["changed"] == 1
    assert main(["data", "diff", "cccccccc", "bbbbbbbb", "--home", str(tmp_path / "home")]) == 1
    assert "there is no such snapshot" in capsys.readouterr().err
