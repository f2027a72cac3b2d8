import subprocess

import pytest
from transferflow.pipelines.project import find_project, require_pinned, spec_digest, spec_version

from transferflow.errors import FlowError

BASE = "task: {kind: classification}\ndata: {format: image_folder, root: data}\n"


@pytest.fixture
def repository(tmp_path):
    """A git repository with a remote, and a spec that extends another one."""
    folder = tmp_path / "My Scans"
    (folder / "xray").mkdir(parents=True)
    for words in (
        ["init", "-q"],
        ["config", "user.name", "n"],
        ["config", "user.email", "e"],
        ["remote", "add", "origin", "https://user:secret@example.org/lab/scans.git"],
    ):
        subprocess.run(["git", *words], cwd=folder, check=True)
    (folder / "xray" / "base.yaml").write_text(BASE)
    (folder / "xray" / "a.yaml").write_text("extends: base.yaml\nname: a\n")
    commit(folder, "first")
    return folder


def commit(folder, message):
    subprocess.run(["git", "add", "-A"], cwd=folder, check=True)
    subprocess.run(["git", "commit", "-qm", message, "--no-verify"], cwd=folder, check=True)


def test_clones_are_one_project_and_its_folders_several(repository, tmp_path):
    clone = tmp_path / "elsewhere"
    (clone / "xray").mkdir(parents=True)
    subprocess.run(["git", "init", "-q"], cwd=clone, check=True)
    url = "https://other:word@example.org/lab/scans.git"
    subprocess.run(["git", "remote", "add", "origin", url], cwd=clone, check=True)
    assert find_project(clone).tag == find_project(repository).tag
    assert find_project(repository).name == "scans"
    assert find_project(repository / "xray").name == "xray"
    assert find_project(repository / "xray").tag != find_project(repository).tag
    assert "secret" not in find_project(repository).identity


def test_a_folder_without_git_is_its_own_project(tmp_path):
    (tmp_path / "Zähne 2").mkdir()
    found = find_project(tmp_path / "Zähne 2")
    assert (found.name, found.identity) == ("z-hne-2", str(tmp_path / "Zähne 2"))
    with pytest.raises(FlowError, match="not a valid name"):
        find_project(tmp_path, "a/b")


def test_a_version_is_what_the_files_say_and_the_commit_that_said_it(repository):
    spec = repository / "xray" / "a.yaml"
    first = spec_version(spec)
    (repository / "README").write_text("more")
    commit(repository, "second")
    assert spec_version(spec) == first
    spec.write_text("# a comment\nextends: base.yaml\nname: a\n")
    assert spec_version(spec) == f"{first}+"
    (repository / "xray" / "base.yaml").write_text(BASE.replace("root: data", "root: more"))
    commit(repository, "third")
    changed = spec_version(spec)
    assert changed.partition("@")[0] != first.partition("@")[0]
    assert changed.partition("@")[2] != first.partition("@")[2]


def test_a_spec_that_was_edited_after_it_was_deployed_is_not_run(repository):
    spec = repository / "xray" / "a.yaml"
    pinned = spec_digest(spec)
    spec.write_text("name: a  # the same in other words\nextends: base.yaml\n")
    require_pinned(spec, pinned)
    spec.write_text("extends: base.yaml\nname: b\n")
    with pytest.raises(FlowError, match=rf"(?s)not the one that was deployed.*{pinned}.*transferflow deploy"):
        require_pinned(spec, pinned)
    spec.unlink()
    with pytest.raises(FlowError, match="can't be read"):
        require_pinned(spec, pinned)
