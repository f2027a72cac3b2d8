import pytest

from transferflow.data.snapshot.shards import inspect_here
from transferflow.stages.context import RunContext
from transferflow.stages.prepare import prepare


def test_what_an_inspection_keeps_outlives_a_run_that_is_cut_off(build_spec, tmp_path):
    context = RunContext(tmp_path / "home")
    folders = []

    def cut(folder):
        folders.append(folder)
        (folder / "facts.parquet").touch()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(build_spec(), context, cut)
    assert (folders[0] / "facts.parquet").exists()

    def whole(folder):
        assert (folder / "facts.parquet").exists()
        return inspect_here(1)

    assert not prepare(build_spec(), context, whole).reused
    assert not folders[0].exists()
