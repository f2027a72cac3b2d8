"""`plan` and `run`: where errors of the plan are, and the table of rates."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from transferflow.cli.main import main
from transferflow.errors import DataError
from transferflow.logs import get_logger
from transferflow.stages.outcome import StageOutcome

Write = Callable[[str], str]


@pytest.fixture
def write(tmp_path: Path, colour_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Write a spec of a small ViT, ten lines long, with more lines behind, and return its name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRANSFERFLOW_HOME", str(tmp_path / "home"))

    def _write(more: str) -> str:
        Path("spec.yaml").write_text(
            "name: colours\n"
            "task: {kind: classification}\n"
            f"data: {{format: image_folder, root: {colour_folder}, image_size: 64}}\n"
            "backbone: {source: timm, name: test_vit, weights: none}\n" + more
        )
        return "spec.yaml"

    return _write


@pytest.mark.parametrize("command", [["plan"], ["run", "--no-prefect"]])
def test_every_wrong_layer_rule_has_its_place(
    write: Write, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    spec = write(
        "freeze:\n  policy: phases\n  phases:\n"
        "    - {epochs: 1, train: [head]}\n    - {epochs: 1, train: ['blocks.[45]', blocks.9, haed]}\n"
        "optimizer: {layer_lr: {'blocks8*': 1e-4}}\n"
    )
    assert main([*command, spec, "--set", "optimizer.layer_lr.'heads*'=1e-3"]) == 2
    err = capsys.readouterr().err
    assert [line for line in err.splitlines() if line.startswith("error: ")] == [
        "error: spec.yaml:9:42: freeze.phases.1.train.1: no layer group is called or matches 'blocks.9'",
        "error: spec.yaml:9:52: freeze.phases.1.train.2: no layer group is called or matches 'haed'",
        "error: spec.yaml:10:36: optimizer.layer_lr.blocks8*: no layer group is called or matches 'blocks8*'",
        "error: --set optimizer.layer_lr.'heads*'=1e-3: optimizer.layer_lr.heads*: "
        "no layer group is called or matches 'heads*'",
    ]
    assert "did you mean `head`?" in err
    assert not (Path("home") / "artifacts").exists()


def test_a_narrow_terminal_cuts_no_number(
    write: Write, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    phases = "{epochs: 1, train: [head]}, {epochs: 1, train: [norm, head]}, {epochs: 2, train: ['*']}"
    spec = write(
        f"freeze: {{policy: phases, phases: [{phases}]}}\n"
        "optimizer: {layer_decay: 0.7}\ntraining: {epochs: 6}\n"
    )
    assert main(["plan", spec, "--rates"]) == 0
    out = capsys.readouterr().out
    assert "from the first to the last step" in out
    assert "…" not in out
    assert max(map(len, out.splitlines()[:-1])) <= 80  # the last line is a path
    assert main(["plan", spec]) == 0
    assert "from the first to the last step" not in capsys.readouterr().out  # only where it is asked for


@pytest.mark.parametrize(
    ("verdict", "fail_on", "code"),
    [
        ("PROMOTE", "hold", 0),
        ("HOLD", "hold", 3),
        ("REJECT", "hold", 3),
        ("HOLD", "reject", 0),
        ("REJECT", "reject", 3),
        ("REJECT", None, 0),
    ],
)
def test_a_verdict_fails_the_command_where_that_is_asked_for(
    write: Write, monkeypatch: pytest.MonkeyPatch, verdict: str, fail_on: str | None, code: int
) -> None:
    registered = {"verdict": verdict, "reasons": ["a reason"], "model": "m", "version": 1, "report": "r"}
    summaries = {
        "train": {"kept": "epoch 1 of 1"},
        "evaluate": {
            "metrics": {},
            "worst_slices": ["worst accuracy by site: A, 0.5000 on 9 images"],
            "baselines": {"majority": 0.1},
        },
        "register": registered | {"aliases": ["champion"] if verdict == "PROMOTE" else []},
    }
    outcomes = [StageOutcome(stage, "k", "p", False, 0.0, summary) for stage, summary in summaries.items()]
    monkeypatch.setattr("transferflow.stages.run.run_plan", lambda *_, **__: outcomes)
    words = ["run", write(""), "--no-prefect", *(["--fail-on", fail_on] if fail_on else [])]
    assert main(words) == code


@pytest.mark.parametrize(("flag", "level"), [("--quiet", 30), ("-q", 30), ("--verbose", 10), ("-v", 10)])
def test_quiet_and_verbose_hold_for_one_command(
    write: Write, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], flag: str, level: int
) -> None:
    seen: list[int] = []

    def stop(*_: object, on_stage: object, **__: object) -> None:
        seen.append(get_logger().level)
        assert (on_stage is None) == (level == 30)
        raise DataError("enough")

    monkeypatch.setattr("transferflow.stages.run.run_plan", stop)
    before = get_logger().level
    assert main(["run", write(""), "--no-prefect", flag]) == 1
    assert seen == [level]
    assert get_logger().level == before
