from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from PIL import Image

from transferflow import __version__
from transferflow.cli import main as module
from transferflow.cli.main import app, main
from transferflow.errors import DataError, InterruptedRunError, Problem, SpecError

HEAVY = ("torch", "numpy", "mlflow", "prefect", "timm", "torchvision", "albumentations", "pandas", "pyarrow")
ROOT = Path(__file__).parents[2]


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch):
    """Make `transferflow fail` raise an error."""

    def _failing(error: BaseException) -> None:
        extra = typer.Typer(pretty_exceptions_enable=False)
        extra.callback()(module.root)

        @extra.command("fail")
        def fail() -> None:
            raise error

        monkeypatch.setattr(module, "app", extra)

    return _failing


def test_a_fault_of_the_machine_is_no_bug(failing, capsys: pytest.CaptureFixture[str]) -> None:
    failing(OSError(errno.ENOSPC, "No space left on device", "/some/file"))
    assert main(["fail"]) == 1
    said = capsys.readouterr().err
    assert "error: /some/file: the disk is full" in said
    assert "hint:" in said
    assert "report it" not in said


def test_the_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"transferflow {__version__}\n"


def test_help_lists_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    names = [command.name for command in app.registered_commands] + [g.name for g in app.registered_groups]
    assert {"validate", "schema", "run", "plan"} <= set(names)
    assert all(name in out for name in names if name)


def test_no_words_show_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "Usage" in capsys.readouterr().out


@pytest.mark.parametrize("words", [["frobnicate"], ["validate"], ["validate", "--nope", "x"], ["--nope"]])
def test_wrong_usage_is_code_2_without_a_traceback(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    assert "Usage" in capsys.readouterr().err


def test_a_near_command_is_suggested(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validat"]) == 2
    assert "validate" in capsys.readouterr().err


def test_an_error_becomes_a_message_and_its_exit_code(failing, capsys: pytest.CaptureFixture[str]) -> None:
    failing(
        DataError("too many bad files", where="data.root", found="9 %", allowed="1 %", hint="see quarantine")
    )
    assert main(["fail"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == (
        "error: data.root: too many bad files\n"
        "    found:   9 %\n    allowed: 1 %\n    hint:    see quarantine\n"
    )


def test_every_problem_is_printed_and_nothing_is_markup(failing, capsys: pytest.CaptureFixture[str]) -> None:
    failing(SpecError.from_problems([Problem("[bold]x[/bold]", "a:1:1"), Problem("[/]\x1b[31mred", "b:2:2")]))
    assert main(["fail"]) == 2
    assert capsys.readouterr().err == "error: a:1:1: [bold]x[/bold]\nerror: b:2:2: [/]\\x1b[31mred\n"


def test_long_messages_are_not_broken(failing, capsys: pytest.CaptureFixture[str]) -> None:
    failing(DataError("x" * 500))
    main(["fail"])
    assert "x" * 500 in capsys.readouterr().err


def test_an_interrupted_run_is_130(failing, capsys: pytest.CaptureFixture[str]) -> None:
    failing(InterruptedRunError("stopped", hint="run it again to go on"))
    assert main(["fail"]) == 130
    assert "go on" in capsys.readouterr().err


def test_ctrl_c_is_130_and_says_what_is_kept(failing, capsys: pytest.CaptureFixture[str]) -> None:
    failing(KeyboardInterrupt())
    assert main(["fail"]) == 130
    assert "the same command goes on" in capsys.readouterr().err


def test_a_bug_is_one_line_and_says_how_to_see_more(failing, capsys: pytest.CaptureFixture[str]) -> None:
    failing(RuntimeError("first\nsecond [red]"))
    assert main(["fail"]) == 70
    err = capsys.readouterr().err
    assert err.splitlines()[0] == "unexpected error: RuntimeError: first"
    assert "--debug" in err
    assert "Traceback" not in err


@pytest.mark.parametrize("words", [["--debug", "fail"], ["fail", "--debug"]])
@pytest.mark.parametrize(("error", "code"), [(RuntimeError("boom"), 70), (DataError("boom"), 1)])
def test_debug_shows_the_traceback(
    failing, words: list[str], error: Exception, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    failing(error)
    assert main(words) == code
    assert "Traceback (most recent call last)" in capsys.readouterr().err


def _run_and_list_modules(words: list[str]) -> tuple[int, set[str]]:
    code = (
        "import json, sys; from transferflow.cli.main import main; code = main(sys.argv[1:]); "
        "print('\\n' + json.dumps([code, sorted(sys.modules)]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        env=os.environ,
    )
    exit_code, modules = json.loads(done.stdout.splitlines()[-1])
    return exit_code, set(modules)


@pytest.mark.parametrize(
    "words", [["--help"], ["run", "--help"], ["validate", "specs/quickstart.yaml"], ["schema"]]
)
def test_light_commands_load_nothing_heavy(words: list[str]) -> None:
    code, modules = _run_and_list_modules(words)
    assert code == 0
    assert not modules & set(HEAVY)


def test_a_spec_that_names_transforms_is_validated_without_torch() -> None:
    code, modules = _run_and_list_modules(["validate", "specs/tree-crowns.yaml"])
    assert code == 0
    assert "albumentations" in modules
    assert not modules & {"torch", "mlflow", "prefect"}


def test_a_plan_loads_only_what_it_needs(tmp_path: Path) -> None:
    for number in range(8):
        image = tmp_path / "photos" / "ab"[number % 2] / f"{number}.png"
        image.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (32, 32), (number * 30, 0, 0)).save(image)
    spec = tmp_path / "spec.yaml"
    spec.write_text(
        f"name: light\ntask: {{kind: classification}}\n"
        f"data: {{format: image_folder, root: {tmp_path / 'photos'}, image_size: 64}}\n"
        "backbone: {source: torchvision, name: resnet18, weights: none}\n"
    )
    code, modules = _run_and_list_modules(["plan", str(spec), "--home", str(tmp_path / "home")])
    assert code == 0
    assert "torchvision" in modules
    unneeded = {"timm", "albumentations", "mlflow", "matplotlib", "pandas", "prefect"}
    assert not modules & (unneeded | {"scipy", "tifffile", "cv2", "faster_coco_eval"})


def test_the_spec_alone_loads_nothing_heavy() -> None:
    code = "import sys, transferflow.spec.load; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & {*HEAVY, "rich", "typer", "jinja2", "fsspec"}


def test_sigterm_raises_what_leaves_everything_in_order(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    extra = typer.Typer(pretty_exceptions_enable=False)
    extra.callback()(module.root)

    @extra.command("stopped")
    def stopped() -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            left.append("in order")

    left: list[str] = []
    monkeypatch.setattr(module, "app", extra)
    before = signal.getsignal(signal.SIGTERM)
    assert main(["stopped"]) == 143
    assert left == ["in order"]
    assert "stopped by SIGTERM" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGTERM) == before
