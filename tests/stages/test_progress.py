from transferflow.stages.progress import download_bar


def test_a_bar_is_for_who_watches(capsys):
    with download_bar("weights", interactive=False) as move:
        assert move is None
    with download_bar("weights", interactive=True) as move:
        move(1, 2)
    assert capsys.readouterr().out == ""  # stdout is for results
