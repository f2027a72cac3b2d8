"""`transferflow report` over two real runs."""

import re
from pathlib import Path
from urllib.parse import unquote

from transferflow.cli.main import main
from transferflow.report.index_page import HistoryPoint, IndexRow, write_index


def test_the_page_leads_to_each_report(two_runs, capsys):
    home = two_runs[0].home
    assert main(["report", "--home", str(home)]) == 0
    page = Path(capsys.readouterr().out.strip())
    assert page == home / "reports" / "index.html"
    text = page.read_text()
    links = re.findall(r'<a href="([^"]+)"', text)
    assert links == ["colours/version-2.html", "colours/version-1.html"]
    assert all((page.parent / unquote(link)).is_file() for link in links)
    assert "optimizer.lr: 0.003 → 0.0001" in text
    assert text.count("<svg") == 1  # the history of two versions
    assert "<script" not in text


def test_names_are_text_and_links_stay_links(tmp_path):
    row = IndexRow("<b>x", "a%20b/version-1.html", "1", "", "2026", "m 0.5", "HOLD", ("<i>why",), "", "a → b")
    points = [HistoryPoint(1, 0.5, None, None, True), HistoryPoint(2, 0.6, 0.5, 0.7, False)]
    histories = {("<b>x", "accuracy"): points, ("one", "accuracy"): points[:1]}
    write_index(tmp_path / "index.html", "home", [row], histories)
    text = (tmp_path / "index.html").read_text()
    assert "&lt;b&gt;x" in text
    assert "<b>x" not in text
    assert "<i>why" not in text
    assert 'href="a%20b/version-1.html"' in text
    assert text.count("<svg") == 1


def test_a_home_without_runs_has_an_empty_page(tmp_path, capsys):
    assert main(["report", "--home", str(tmp_path)]) == 0
    assert "<dd>0</dd>" in (tmp_path / "reports" / "index.html").read_text()
