import pyarrow as pa
import pytest

from transferflow.data.snapshot.manifest import read_rows
from transferflow.tasks.build import build_task

SHARES = [[0.45, 0.3, 0.25], [0.2, 0.7, 0.1], [0.1, 0.1, 0.8]]
"""The first class is found, though its probability is below a half."""


@pytest.fixture
def shown(build_spec, load, tmp_path):
    spec = build_spec()
    snapshot = load(spec, tmp_path / "snapshot")
    ids = [row.id for row in read_rows(snapshot, "test") if row.labels == (snapshot.classes[0],)][:3]
    predictions = pa.table({"id": ids, "probabilities": pa.array(SHARES, pa.list_(pa.float32(), 3))})

    def run(choice):
        return build_task(spec.task).show_cases(
            spec, predictions, snapshot, "test", folder=tmp_path, choice=choice, limit=9
        )

    return run


def test_the_worst_are_mistakes_alone_worst_first(shown):
    assert [case.title for case in shown("worst")] == ["blue, taken for red", "blue, taken for green"]


def test_what_is_right_says_so(shown):
    assert [case.title for case in shown("spread")] == [
        "blue, recognised",
        "blue, taken for green",
        "blue, taken for red",
    ]
