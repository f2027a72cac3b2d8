from transferflow.pipelines.summary import stage_rows, summary_page

from transferflow.stages.outcome import StageOutcome

OUTCOMES = (
    StageOutcome("prepare", "p" * 64, "/p", True, 0.04, {}),
    StageOutcome(
        "evaluate",
        "e" * 64,
        "/e",
        False,
        2.345,
        {
            "metrics": {
                "accuracy": {"value": 0.9, "low": 0.8, "high": 0.95},
                "auroc": {"value": None, "low": None, "high": None},
            }
        },
    ),
    StageOutcome(
        "register",
        "r" * 64,
        "/r",
        False,
        1.0,
        {
            "verdict": "HOLD",
            "reasons": ["class `a|b` is <script>worse</script>"],
            "model": "tiny",
            "version": 3,
            "aliases": ["challenger"],
            "report": "/reports/tiny.html",
        },
    ),
)


def test_the_page_says_verdict_metrics_and_report():
    page = summary_page("tiny", OUTCOMES)
    assert page.startswith("# tiny: HOLD\n")
    assert "| accuracy | 0.9000 | 0.8000 | 0.9500 |" in page
    assert "| auroc |  |  |  |" in page
    assert "Model tiny, version 3; aliases: challenger" in page
    assert page.endswith("Report: `/reports/tiny.html`")


def test_names_from_outside_are_not_markup():
    page = summary_page("tiny", OUTCOMES)
    assert r"class \`a\|b\` is &lt;script&gt;worse&lt;/script&gt;" in page


def test_the_table_has_a_row_per_stage():
    rows = stage_rows(OUTCOMES)
    assert [row["result"] for row in rows] == ["reused", "done", "done"]
    assert rows[1] == {
        "stage": "evaluate",
        "result": "done",
        "seconds": 2.3,
        "key": "e" * 12,
        "artifact": "/e",
    }
