"""What a plan refuses before anything is prepared, and what it says of the stages."""

import pytest

from transferflow.errors import DataError
from transferflow.stages.context import RunContext
from transferflow.stages.plan.compile import compile_plan


@pytest.fixture
def table(build_spec, colour_folder):
    """A spec of the colours as a table whose first rows have no label."""

    def build(unlabelled):
        files = sorted(file.relative_to(colour_folder) for file in colour_folder.rglob("*.png"))
        rows = [f"{file},{'' if n < unlabelled else file.parent}" for n, file in enumerate(files)]
        (colour_folder / "labels.csv").write_text("\n".join(["path,label", *rows]))
        data = {"format": "csv", "file": "labels.csv", "root": str(colour_folder), "image_size": 32}
        return build_spec(data=data), len(rows)

    return build


def test_a_table_of_which_nothing_is_left_is_refused_by_the_plan(table, tmp_path):
    _, rows = table(0)
    spec, _ = table(rows)
    with pytest.raises(DataError, match="no image can be used") as caught:
        compile_plan(spec, RunContext(tmp_path / "home"))
    assert "the column 'label' is empty" in str(caught.value)  # and why


def test_a_table_of_which_too_little_is_left_is_refused_by_the_plan(table, tmp_path):
    spec, rows = table(5)
    with pytest.raises(DataError, match=rf"5 of {rows} images can't be used"):
        compile_plan(spec, RunContext(tmp_path / "home"))
    lenient = spec.model_copy(update={"data": spec.data.model_copy(update={"max_bad_fraction": 0.5})})
    compile_plan(lenient, RunContext(tmp_path / "home"))
