"""`transferflow models` on a registry of three versions."""

import json

import pytest

from transferflow.cli.main import main
from transferflow.registry.gate import Verdict, VerdictKind


@pytest.fixture
def models(registry, make_entry, tmp_path, capsys):
    """Run `models` on a home with two champions and a challenger: the exit code and what it printed."""
    tags = {"metric": "accuracy", "train_key": "t" * 64}
    for key, kind in (("a1", "PROMOTE"), ("a2", "PROMOTE"), ("a3", "HOLD")):
        verdict = Verdict(VerdictKind(kind), (f"it is a {kind}",))
        registry.register(make_entry(key=key, tags=tags), verdict, registry.champion("chest-xray"))

    def run(*words):
        code = main(["models", *words, "--home", str(tmp_path / "home with spaces")])
        return code, capsys.readouterr()

    return run


def test_list_and_show(models, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    code, said = models("list")
    assert code == 0
    lines = [line for line in said.out.splitlines() if "chest-xray" in line]
    assert ["challenger" in lines[0], "champion" in lines[1], "accuracy 0.9000" in lines[2]] == [True] * 3
    rows = json.loads(models("list", "chest-xray", "--json")[1].out)
    assert [(row["version"], row["verdict"]) for row in rows] == [(3, "HOLD"), (2, "PROMOTE"), (1, "PROMOTE")]
    assert rows[0]["metrics"]["accuracy_low"] == 0.8
    text = models("show", "chest-xray")[1].out
    assert "version 2 (champion, reference)" in text
    assert "(95 % 0.8000 to 0.9500)" in text
    assert "version 2 promoted by gate, in place of version 1: it is a PROMOTE" in text
    assert json.loads(models("show", "chest-xray/3", "--json")[1].out)["reasons"] == ["it is a HOLD"]


def test_promote_and_roll_back_with_reasons(models):
    assert "version 3 is the champion; it was version 2" in models("promote", "chest-xray@challenger")[1].out
    said = models("rollback", "chest-xray", "--reason", "slow\x1b[2J")[1]
    assert "version 2 is the champion; it was version 3" in said.out
    text = models("show", "chest-xray/2")[1].out
    assert "rolled back" in text
    assert "slow" in text
    assert "\x1b" not in text


def test_delete(models):
    code, said = models("delete", "chest-xray/2")
    assert code == 1
    assert "the champion can't be deleted" in said.err
    assert "models rollback chest-xray" in said.err
    assert models("delete", "chest-xray/3", "--reason", "leaked")[0] == 0
    code, said = models("show", "chest-xray/3")
    assert code == 1
    assert "no version or alias '3'" in said.err


def test_repair_of_what_is_whole_and_of_what_is_not_there(models):
    assert "nothing to repair" in models("repair", "chest-xray")[1].out
    for words in (("repair", "nothing"), ("rollback", "nothing"), ("list", "nothing"), ("show", "../x")):
        code, said = models(*words)
        assert code == 1
        assert "Traceback" not in said.err


def test_an_empty_registry_says_how_to_fill_it(tmp_path, capsys):
    assert main(["models", "list", "--home", str(tmp_path)]) == 0
    assert "transferflow run SPEC" in capsys.readouterr().out
    assert main(["models", "list", "--json", "--home", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "[]\n"


def test_the_address_that_mlflow_has_for_a_model_will_do_everywhere(models):
    for words in (("list", "models:/chest-xray"), ("show", "models:/chest-xray@champion")):
        code, said = models(*words)
        assert code == 0, said.err
        assert "chest-xray" in said.out
    assert "nothing to repair" in models("repair", "models:/chest-xray")[1].out
    assert "version 3 is the champion" in models("promote", "models:/chest-xray/3")[1].out
    assert "version 2 is the champion" in models("rollback", "models:/chest-xray")[1].out
    assert "version 3 is deleted" in models("delete", "models:/chest-xray/3")[1].out
