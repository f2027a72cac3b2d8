from transferflow.cli.main import main
from transferflow.demo.sets import DEMO_SETS


def test_list_shows_every_set(capsys):
    assert main(["datasets", "list"]) == 0
    shown = capsys.readouterr().out
    for demo in DEMO_SETS:
        for part in (demo.name, demo.task, f"{demo.images:,}", demo.licence, str(demo.package)):
            assert part in shown


def test_an_unknown_name_is_a_message(capsys, tmp_path):
    assert main(["datasets", "fetch", "nuclie", str(tmp_path / "x")]) == 1
    shown = capsys.readouterr().err
    assert "did you mean `nuclei`?" in shown
    assert "Traceback" not in shown


def test_a_folder_in_use_is_a_message(capsys, tmp_path):
    (tmp_path / "file.txt").write_text("mine")
    assert main(["datasets", "fetch", "nuclei", str(tmp_path)]) == 1
    assert "holds something else" in capsys.readouterr().err
