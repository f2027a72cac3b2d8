"""The report as a browser shows it: nothing overflows, nothing is missing, nothing is fetched."""

from __future__ import annotations

import json

import pytest

from transferflow.report.render import write_report

SHAPES = {
    "two": {"classes": 2, "images": 60, "names": ("normal", "disease")},
    "ten": {"classes": 10, "images": 200},
    "many": {"classes": 100, "images": 400},
    "hostile": {
        "classes": 3,
        "images": 60,
        "names": ("<script>alert(1)</script>", "no_spaces_" * 40, "猫"),
        "hostile": "<img src=x onerror=alert(1)>" + "x" * 400,
    },
}


def open_page(browser, path, width):
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500},
    )
    browser.get(path.as_uri())


@pytest.fixture(scope="module")
def pages(make_report, make_detection_report, make_segmentation_report, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    write_report(make_detection_report(), folder / "detection.html")
    write_report(make_segmentation_report(), folder / "segmentation.html")
    for name, shape in SHAPES.items():
        write_report(make_report(**shape), folder / f"{name}.html")
    return folder


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("name", [*SHAPES, "detection", "segmentation"])
def test_a_page_fits_its_window_and_is_complete(browser, pages, name, width):
    browser.get_log("performance")
    open_page(browser, pages / f"{name}.html", width)
    assert browser.get_log("browser") == []
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    stray = browser.execute_script(
        """
        const scrolls = e => e && (/(auto|scroll|hidden)/.test(getComputedStyle(e).overflowX) ||
          scrolls(e.parentElement));
        return [...document.querySelectorAll('main *, header *')].filter(e =>
          !e.closest('svg') && e.getBoundingClientRect().right > innerWidth + 1 && !scrolls(e)
        ).map(e => e.outerHTML.slice(0, 80));
        """
    )
    assert stray == []
    images = browser.execute_script(
        "return [...document.images].map(i => [i.complete, i.naturalWidth, i.clientWidth])"
    )
    assert len(images) >= 20
    assert all(complete and natural and shown for complete, natural, shown in images)
    figures = browser.execute_script(
        "return [...document.querySelectorAll('.plot svg')].map(s => s.getBoundingClientRect().height)"
    )
    assert len(figures) >= 6
    assert min(figures) > 60
    assert requests(browser) <= {"file", "data"}


def requests(browser):
    """Schemes of everything that the browser asked for."""
    messages = (json.loads(entry["message"])["message"] for entry in browser.get_log("performance"))
    return {
        m["params"]["request"]["url"].split(":")[0]
        for m in messages
        if m["method"] == "Network.requestWillBeSent"
    }


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_is_readable_in_light_and_dark(browser, pages, scheme):
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    )
    open_page(browser, pages / "ten.html", 1280)
    colors = browser.execute_script(
        """
        const style = getComputedStyle(document.documentElement);
        return ['--ink', '--muted', '--surface', '--page', '--accent', '--good', '--good-soft', '--bad',
                '--bad-soft', '--warn', '--warn-soft'].map(n => [n, style.getPropertyValue(n).trim()]);
        """
    )
    palette = dict(colors)
    for text, ground in (
        ("--ink", "--surface"),
        ("--ink", "--page"),
        ("--muted", "--surface"),
        ("--muted", "--page"),
        ("--accent", "--surface"),
        ("--good", "--good-soft"),
        ("--bad", "--bad-soft"),
        ("--warn", "--warn-soft"),
    ):
        assert contrast(palette[text], palette[ground]) >= 4.5, (scheme, text, ground)
    axis = browser.execute_script("return getComputedStyle(document.querySelector('.plot svg text')).fill")
    assert axis != "rgb(0, 0, 0)"


def contrast(one, other):
    """Contrast ratio of two colours (WCAG 2.1)."""

    def luminance(color):
        parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_the_operating_point_fits_a_phone_and_a_wider_table_shows_that_it_goes_on(browser, pages):
    open_page(browser, pages / "two.html", 375)
    hidden = (
        "return [...document.querySelectorAll('#results .scroll')].map(e => e.scrollWidth - e.clientWidth)"
    )
    assert browser.execute_script(hidden) == [0]
    open_page(browser, pages / "segmentation.html", 375)
    wide = "return document.querySelector('#classes .scroll').scrollWidth > 375"
    assert browser.execute_script(wide)
    shade = "return getComputedStyle(document.querySelector('#classes .scroll')).backgroundAttachment"
    assert browser.execute_script(shade) == "local, local, scroll, scroll"
