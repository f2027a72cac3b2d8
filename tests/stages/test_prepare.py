import pytest
from PIL import Image

from transferflow.data.snapshot.build import load_snapshot
from transferflow.data.snapshot.manifest import read_rows
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


def _split_of(outcome):
    rows = read_rows(load_snapshot(outcome.folder))
    return {row.id: row.split for row in rows}


def test_the_splits_of_the_former_snapshot_are_part_of_the_key(build_spec, colour_folder, tmp_path):
    spec, context = build_spec(), RunContext(tmp_path / "home")
    first = prepare(spec, context)
    assert prepare(spec, context).reused
    for path in colour_folder.rglob("*.png"):  # other pixels: by its hash an image would go elsewhere
        Image.open(path).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(path)
    edited = prepare(spec, context)
    assert prepare(spec, context).key == edited.key
    assert _split_of(edited) == _split_of(first)
    elsewhere = prepare(spec, RunContext(tmp_path / "elsewhere"))
    assert _split_of(elsewhere) != _split_of(first)
    assert elsewhere.key != edited.key


def test_a_damaged_snapshot_is_made_anew_after_the_same_former_one(build_spec, colour_folder, tmp_path):
    spec, context = build_spec(), RunContext(tmp_path / "home")
    first = prepare(spec, context)
    (colour_folder / "red" / "00.png").unlink()
    second = prepare(spec, context)
    (second.folder / "manifest.parquet").write_bytes(b"damaged")
    again = prepare(spec, context)
    assert not again.reused
    assert (again.key, again.summary) == (second.key, second.summary)
    for outcome in (first, second):
        (outcome.folder / "manifest.parquet").unlink()
    alone = prepare(spec, context)  # as on a machine that has never seen the former one
    assert alone.key == prepare(spec, RunContext(tmp_path / "elsewhere")).key
    assert prepare(spec, context).reused
