import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from transferflow.cli.main import main
from transferflow.spec.load import load_spec


@pytest.fixture
def repository(tmp_path):
    """A repository as `init-repo` lays it out, with one commit on `main`."""
    folder = tmp_path / "models"
    assert main(["init-repo", str(folder)]) == 0
    for words in (["init", "-q", "-b", "main"], ["config", "user.name", "n"], ["config", "user.email", "e"]):
        subprocess.run(["git", *words], cwd=folder, check=True)
    commit(folder)
    return folder


def commit(folder):
    subprocess.run(["git", "add", "-A"], cwd=folder, check=True)
    subprocess.run(["git", "commit", "-qm", "change", "--no-verify"], cwd=folder, check=True)


def plan(folder):
    """What the workflow's script writes, and what it says."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = ["sh", "ci/plan.sh", "main"]
    return subprocess.run(
        command, cwd=folder, env=os.environ | {"PATH": path}, capture_output=True, text=True
    )


def test_it_lays_out_files_that_work(repository, capsys):
    assert load_spec(repository / "specs" / "example.yaml").deployment.refresh.min_changed == 50
    assert ".transferflow/" in (repository / ".gitignore").read_text()
    workflow = yaml.safe_load((repository / ".github" / "workflows" / "specs.yml").read_text())
    steps = [step.get("run", "") for step in workflow["jobs"]["plan"]["steps"]]
    assert any("ci/plan.sh" in step for step in steps)
    assert not any("${{" in step for step in steps)  # a branch's name must not become a command
    [repo] = yaml.safe_load((repository / ".pre-commit-config.yaml").read_text())["repos"]
    assert repo["hooks"][0]["entry"] == "transferflow validate"
    assert main(["init-repo", str(repository)]) == 2
    assert "there already" in capsys.readouterr().err


def test_this_project_offers_a_hook():
    [hook] = yaml.safe_load((Path(__file__).parents[2] / ".pre-commit-hooks.yaml").read_text())
    assert hook["entry"] == "transferflow validate"


@pytest.mark.slow
def test_the_script_says_what_a_branch_would_train_again(repository):
    example = repository / "specs" / "example.yaml"
    text = example.read_text()
    assert plan(repository).stdout == "No spec differs: nothing would run again.\n"
    subprocess.run(["git", "checkout", "-qb", "change"], cwd=repository, check=True)
    example.write_text(text.replace("epochs: 10", "epochs: 12").replace("min_changed: 50", "min_changed: 60"))
    (repository / "specs" / "other.yaml").write_text(text.replace("name: example", "name: other"))
    (repository / "specs" / "child.yaml").write_text("extends: example.yaml\nname: child\n")
    commit(repository)
    done = plan(repository)
    assert done.returncode == 0, done.stderr
    assert "### `specs/other.yaml`: new\n\nRuns again: **prepare, train, evaluate, register**" in done.stdout
    assert "### `specs/example.yaml`: changed\n\nRuns again: **train, evaluate, register**" in done.stdout
    assert "- `training.epochs: 10 → 12`" in done.stdout
    assert "- `deployment.refresh.min_changed: 50 → 60`" in done.stdout

    subprocess.run(["git", "checkout", "-q", "main"], cwd=repository, check=True)
    subprocess.run(["git", "merge", "-q", "change"], cwd=repository, check=True)
    subprocess.run(["git", "checkout", "-qb", "next"], cwd=repository, check=True)
    example.write_text(text.replace("epochs: 10", "epochs: 12").replace("min_changed: 50", "min_changed: 70"))
    (repository / "specs" / "other.yaml").unlink()
    commit(repository)
    said = plan(repository).stdout
    assert "### `specs/example.yaml`: changed\n\nNothing runs again." in said
    assert "### `specs/child.yaml`: changed" in said  # by what it extends
    assert "### `specs/other.yaml`: gone" in said

    example.write_text(text.replace("epochs: 10", "epochs: -1"))
    broken = plan(repository)
    assert (broken.returncode, "training.epochs" in broken.stderr) == (2, True)


def test_a_revision_that_is_not_there_is_said(repository, monkeypatch, capsys):
    monkeypatch.chdir(repository)
    assert main(["changes", "nowhere"]) == 2
    assert "nowhere: git can't give the specs as they were" in capsys.readouterr().err
