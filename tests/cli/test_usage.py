"""Words that no command takes, and what is said of them."""

from __future__ import annotations

import pytest

from transferflow.cli.main import main


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["train", "a.yaml"], "`transferflow run SPEC` does that"),
        (["run", "a.yaml", "--epochs", "3"], "--set training.epochs=3"),
        (["run", "a.yaml", "--lr0=0.01"], "--set optimizer.lr=0.01"),
        (["run", "a.yaml", "--batch-size", "8"], "--set training.batch_size=8"),
        (["run", "a.yaml", "--set", "training.epochs", "3"], "--set training.epochs=VALUE"),
        (["run", "a.yaml", "training.epochs=3"], "replaced by --set training.epochs=3"),
    ],
)
def test_a_habit_on_the_command_line_gets_a_hint(
    words: list[str], hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    assert hint in capsys.readouterr().err


@pytest.mark.parametrize("words", [["frobnicate"], ["run"], ["run", "a.yaml", "--frobnicate", "3"]])
def test_what_is_not_known_gets_no_hint(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert "hint:" not in capsys.readouterr().err
