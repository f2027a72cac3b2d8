"""The pages as axe-core sees them, and by the keyboard alone."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import axe_core_python
import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from transferflow.evaluation.results import MetricValue, PredictionSets, Slice, Threshold
from transferflow.report.index_page import HistoryPoint, IndexRow, write_index
from transferflow.report.render import write_report
from transferflow.report.sections import Table
from transferflow.report.tables_page import PagePart, write_tables_page

AXE = (Path(axe_core_python.__file__).parent / "axe.min.js").read_text()
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]}


def with_everything(data):
    """A report that has every section."""
    value = MetricValue(0.5, 0.4, 0.6)
    metrics = dict.fromkeys(data.evaluation.metrics, value)
    evaluation = replace(
        data.evaluation,
        slices={"site": (Slice("A", 40, metrics, True), Slice("B", 4, metrics, False))},
        baselines={"majority": metrics, "knn": metrics},
        thresholds=(Threshold("disease", 0.3, value, value),),
        sets=PredictionSets(0.9, value, MetricValue(1.4, 1.2, 1.6), 0.7),
    )
    return replace(data, evaluation=evaluation, champion={"champion (version 1)": metrics})


@pytest.fixture(scope="module")
def pages(make_report, make_detection_report, make_segmentation_report, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    two = make_report(classes=2, images=60, names=("normal", "disease"))
    write_report(with_everything(two), folder / "report.html")
    write_report(make_detection_report(), folder / "detection.html")
    write_report(make_segmentation_report(), folder / "segmentation.html")
    row = IndexRow(
        "a", "a.html", "1", "champion", "2026", "accuracy 0.9", "PROMOTE", ("a reason",), "3 s", "lr"
    )
    points = [HistoryPoint(n, 0.8 + n / 100, 0.7, 0.9, n == 2) for n in (1, 2)]
    write_index(folder / "index.html", "home", [row], {("a", "accuracy"): points})
    table = Table(("metric", "a"), (("accuracy", "0.9"),), frozenset({1}))
    parts = [PagePart("Metrics", "A sentence.", table), PagePart("Spec", lines=("the same",))]
    write_tables_page(folder / "tables.html", "a and b", "comparison", {"test images": "9"}, parts)
    page = files("transferflow.serving").joinpath("page.html").read_text("utf-8")
    (folder / "serve.html").write_text(page, encoding="utf-8")
    return folder


def open_page(browser, path, width, scheme="light"):
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    )
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width < 500},
    )
    browser.get(path.as_uri())


@pytest.mark.parametrize(
    ("name", "width", "scheme"),
    [
        ("report", 1280, "light"),
        ("report", 390, "dark"),
        ("detection", 390, "light"),
        ("segmentation", 1280, "dark"),
        ("index", 1280, "light"),
        ("index", 390, "dark"),
        ("tables", 390, "light"),
        ("serve", 1280, "light"),
        ("serve", 390, "dark"),
    ],
)
def test_axe_finds_nothing(browser, pages, name, width, scheme):
    open_page(browser, pages / f"{name}.html", width, scheme)
    for details in browser.find_elements(By.CSS_SELECTOR, "details:not([open])"):
        browser.execute_script("arguments[0].open = true", details)
    browser.execute_script(AXE)
    found = browser.execute_async_script(
        f"axe.run(document, {json.dumps(RULES)}).then(arguments[arguments.length - 1])"
    )
    assert [(v["id"], v["impact"], v["nodes"][0]["html"][:160]) for v in found["violations"]] == []
    assert len(found["passes"]) > 10


def test_every_section_is_reached_by_the_keyboard(browser, pages):
    """Tab goes through the links of the navigation and through all that scrolls, and is always seen."""
    open_page(browser, pages / "report.html", 390)
    links = [
        a.get_attribute("href").rpartition("#")[2] for a in browser.find_elements(By.CSS_SELECTOR, "nav a")
    ]
    assert {"results", "decisions", "classes", "baselines", "slices", "training", "lineage"} <= set(links)
    seen = []
    for _ in range(200):
        browser.switch_to.active_element.send_keys(Keys.TAB)
        here = browser.switch_to.active_element
        if here.tag_name == "body":
            break
        outline = here.value_of_css_property("outline-style")
        seen.append((here.tag_name, (here.get_attribute("href") or "").rpartition("#")[2], outline))
    assert [anchor for tag, anchor, _ in seen if tag == "a" and anchor in links] == links
    assert all(outline != "none" for _, _, outline in seen)
    wide = "[...document.querySelectorAll('.scroll, .plot')].filter(e => e.scrollWidth > e.clientWidth)"
    scrolling = browser.execute_script(f"return {wide}.length")
    assert scrolling > 0
    assert sum(tag == "div" for tag, _, _ in seen) >= scrolling


@pytest.mark.parametrize("width", [360, 800, 1280])
def test_the_index_shows_every_run_without_a_box_that_scrolls(browser, tmp_path, width):
    """On a phone each run stands by itself, and a screen reader still finds a table with its columns."""
    reasons = ("accuracy 0.953 is at least 0.9", "surely better than version 11, by 0.012 (0.003 to 0.021)")
    row = IndexRow(
        name="a-name-of-some-length",
        link="a.html",
        version="12",
        aliases="champion, reference",
        when="2026-11-27 11:33",
        metric="accuracy 0.9625 (0.945 to 0.978)",
        verdict="PROMOTE",
        reasons=reasons,
        trained="12 min 3 s",
        changed="optimizer.lr, training.epochs",
    )
    write_index(tmp_path / "index.html", "home", [row] * 40, {})
    open_page(browser, tmp_path / "index.html", width)
    inside = "const e = document.querySelector('#runs .scroll');"
    assert browser.execute_script(f"{inside} return e.scrollHeight - e.clientHeight") == 0
    assert browser.execute_script(f"{inside} return e.scrollWidth - e.clientWidth") == 0
    ends = "return [...document.querySelectorAll('td')].map(e => e.getBoundingClientRect().right)"
    assert max(browser.execute_script(ends)) <= width
    tree = browser.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    roles = [node["role"]["value"] for node in tree if not node["ignored"]]
    assert [roles.count(role) for role in ("table", "row", "columnheader", "cell")] == [1, 41, 8, 320]


ASK = """
const done = arguments[arguments.length - 1], [replies, pixels] = arguments;
window.fetch = async () => {
  const {status = 200, body, seconds = 0} = replies.shift() || {body: "{}"};
  if (seconds) await new Promise((end) => setTimeout(end, 1000 * seconds));
  if (body === undefined) throw new TypeError("Failed to fetch");
  return new Response(body, {status});
};
const image = new File([Uint8Array.from(atob(pixels), (c) => c.charCodeAt(0))], "a.png");
const later = (n) => new Promise((end) => setTimeout(end, 200 * n)).then(() => ask(image));
Promise.all(Array.from({length: replies.length}, (_, n) => later(n))).then(() => done([
  document.getElementById("said").textContent, document.getElementById("answer").hidden]));
"""
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


def answer(**fields):
    return json.dumps({"model": "models:/m/1", "predictions": [fields]})


@pytest.mark.parametrize(
    ("replies", "said", "is_empty"),
    [
        ([{"body": answer(value=4.5)}], "4.5 · models:/m/1", False),
        ([{"body": answer(width=1, height=1, boxes=[])}], "nothing found · models:/m/1", False),
        ([{"body": answer(error="no image")}], "no image", True),
        ([{}], "the server can't be reached", True),
        ([{"status": 502, "body": "<h1>Bad Gateway</h1>"}], "the server answered 502", True),
        ([{"body": answer(value=1), "seconds": 0.5}, {"body": answer(value=2)}], "2 · models:/m/1", False),
    ],
)
def test_the_servers_page_says_what_it_found_or_why_not(browser, pages, replies, said, is_empty):
    """A screen reader hears the answer itself; a server that is gone is said; a late answer is dropped."""
    open_page(browser, pages / "serve.html", 360)
    assert browser.execute_async_script(ASK, replies, PIXEL) == [said, is_empty]
