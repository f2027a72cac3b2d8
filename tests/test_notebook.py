"""The notebook in the docs runs from its first cell to its last."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[1] / "docs" / "notebook.ipynb"


@pytest.mark.slow
def test_it_runs_and_ends_with_a_promoted_model(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert all(not cell.get("outputs") for cell in notebook.cells)  # what it prints is of whoever runs it
    NotebookClient(
        notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    ).execute()
    said = [
        output.get("data", {}).get("text/plain", "") or output.get("text", "")
        for cell in notebook.cells
        for output in cell.get("outputs", ())
    ]
    assert any(text.startswith("('PROMOTE',") for text in said)
    assert any("(('narrow',)" in text and "(('wide',)" in text for text in said)
    report = Path(said[-1].strip())
    assert report.is_relative_to(tmp_path)
    assert report.stat().st_size > 10_000
