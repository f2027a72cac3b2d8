import logging
import os

import pytest
from PIL import Image

from transferflow.data.snapshot.build import load_snapshot
from transferflow.data.snapshot.changes import changed_files
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


def _replace_unseen(path, size):
    """Other pixels, in a file of the same size and time."""
    status = path.stat()
    Image.new("RGB", (36, 36), (size, 9, 9)).save(path)
    content = path.read_bytes()
    path.write_bytes(
        content + bytes(status.st_size - len(content))
    )  # what follows the end of a PNG is nothing
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize("touched", [False, True])
def test_contents_that_size_and_time_do_not_tell(build_spec, colour_folder, tmp_path, caplog, touched):
    spec, context = build_spec(), RunContext(tmp_path / "home")
    first = prepare(spec, context)
    _replace_unseen(colour_folder / "red" / "00.png", 120)
    if touched:  # another file changed as well, so that the key is another one
        (colour_folder / "red" / "01.png").touch()
    assert prepare(spec, context).reused is not touched
    assert prepare(spec, context).summary["fingerprint"] == first.summary["fingerprint"]
    verifying = RunContext(tmp_path / "home", verify=True)
    with caplog.at_level(logging.WARNING, "transferflow"):
        verified = prepare(spec, verifying)
    assert caplog.text.count("1 file has other contents than the snapshot, such as red/00.png") == 1
    assert not verified.reused
    assert verified.summary["fingerprint"] != first.summary["fingerprint"]
    assert _split_of(verified) == _split_of(first)
    assert prepare(spec, verifying).reused
    assert prepare(spec, context).summary == verified.summary


def test_facts_of_a_first_look_do_not_count_where_files_are_verified(build_spec, colour_folder, tmp_path):
    prepare(build_spec(), RunContext(tmp_path / "home"))
    _replace_unseen(colour_folder / "red" / "00.png", 120)
    (colour_folder / "red" / "01.png").touch()
    context = RunContext(tmp_path / "home", verify=True)

    def look(folder):
        assert not list(folder.iterdir())
        return inspect_here(1)

    snapshot = load_snapshot(prepare(build_spec(), context, look).folder)
    assert changed_files(snapshot, 1) == ()
    _replace_unseen(colour_folder / "red" / "02.png", 130)
    (colour_folder / "red" / "03.png").unlink()
    assert changed_files(snapshot, 2) == ("red/02.png", "red/03.png")
