"""A data set in an object store, the whole way."""

import json

import pytest
from PIL import Image
from typer.testing import CliRunner

from transferflow.cli.main import app
from transferflow.data.remote.objects import RemoteFolder
from transferflow.data.snapshot import shards
from transferflow.data.snapshot.build import load_snapshot
from transferflow.data.snapshot.manifest import read_rows
from transferflow.errors import DataError
from transferflow.spec import ExperimentSpec
from transferflow.stages.context import RunContext
from transferflow.stages.evaluate.stage import evaluate
from transferflow.stages.outcome import StageOutcome
from transferflow.stages.prepare import prepare
from transferflow.stages.refresh.look import look_at_data
from transferflow.stages.refresh.turn import remember
from transferflow.stages.train.stage import train

ROOT = "s3://photos/colours"


@pytest.fixture
def spec_of(build_spec, bucket, colour_folder):
    """A spec on a bucket that holds the colours."""
    for name in ("red", "green", "blue"):
        bucket.put(str(colour_folder / name), f"photos/colours/{name}", recursive=True)
    document = build_spec().model_dump(mode="json", exclude_unset=True)
    data = document["data"] | {"root": ROOT, "max_bad_fraction": 0.1}
    return lambda **sections: ExperimentSpec.model_validate(document | {"data": data} | sections)


@pytest.fixture
def context(tmp_path):
    return RunContext(tmp_path / "home")


@pytest.fixture
def opened(monkeypatch):
    """Paths of the files that were fetched, and of those that were inspected, so far."""
    fetched, inspected = [], []
    fetch, inspect = RemoteFolder.fetch, shards.inspect_shard

    def note_fetch(remote, file, target):
        fetched.append(file.path)
        fetch(remote, file, target)

    def note_inspect(shard):
        inspected.extend(shard.names)
        return inspect(shard)

    monkeypatch.setattr(RemoteFolder, "fetch", note_fetch)
    monkeypatch.setattr(shards, "inspect_shard", note_inspect)
    return fetched, inspected


def test_it_trains_rests_and_trains_again(spec_of, context, bucket, tmp_path):
    refresh = {"poll": "0 * * * *", "settle_minutes": 0.0, "min_changed": 2}
    spec = spec_of(deployment={"refresh": refresh}, evaluation={"bootstrap": 50, "baselines": []})
    prepared = prepare(spec, context)
    evaluated = evaluate(spec, context, prepared, train(spec, context, prepared))
    assert evaluated.summary["metrics"]["accuracy"]["value"] > 0.5
    registered = StageOutcome("register", "r" * 64, "", False, 1.0, {"verdict": "PROMOTE"})
    remember(spec, context, [prepared, registered])
    assert look_at_data(spec, context).decision.action == "nothing"
    for number in range(2):
        Image.new("RGB", (36, 36), (200, 40, number)).save(tmp_path / "new.png")
        bucket.put(str(tmp_path / "new.png"), f"photos/colours/red/new{number}.png")
    waiting = spec_of(deployment={"refresh": refresh | {"settle_minutes": 5.0}})
    assert look_at_data(waiting, context).decision.action == "wait"
    look = look_at_data(spec, context)
    assert (look.decision.action, look.change.added) == ("train", 2)


def test_a_snapshot_reads_just_what_changed(spec_of, context, bucket, opened, tmp_path):
    spec, (fetched, inspected) = spec_of(), opened
    first = load_snapshot(prepare(spec, context).folder)
    assert (len(fetched), len(inspected)) == (60, 60)
    assert prepare(spec, context).reused
    Image.new("RGB", (36, 36), (1, 2, 3)).save(tmp_path / "new.png")
    bucket.put(str(tmp_path / "new.png"), "photos/colours/red/00.png")
    bucket.rm("photos/colours/blue/00.png")
    bucket.pipe("photos/colours/red/bad.png", b"no image")
    fetched.clear(), inspected.clear()
    second = load_snapshot(prepare(spec, context).folder)
    assert sorted(fetched) == sorted(inspected) == ["red/00.png", "red/bad.png"]
    assert {row.path for row in read_rows(first)} - {row.path for row in read_rows(second)} == {"blue/00.png"}
    before = {row.id: row.split for row in read_rows(first)}
    assert all(before[row.id] == row.split for row in read_rows(second))
    assert second.fingerprint != first.fingerprint
    for row in read_rows(first):
        assert row.absolute_path.is_file()  # a training of the first one goes on


def test_content_that_came_with_a_table_is_listed_by_it(spec_of, context, bucket):
    names = [name.removeprefix("photos/colours/") for name in bucket.find("photos/colours")]
    rows = [f"{name},{name.partition('/')[0]}" for name in names]
    bucket.pipe("photos/colours/labels.csv", "\n".join(["path,label", *rows]).encode())
    data = {"format": "csv", "root": ROOT, "file": "labels.csv", "image_size": 32}
    assert sum(prepare(spec_of(data=data), context).summary["images"].values()) == 60


def test_commands_call_it_by_its_address(spec_of, bucket, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    document = spec_of().model_dump(mode="json", exclude_unset=True)
    (tmp_path / "spec.yaml").write_text(json.dumps(document))
    checked = CliRunner().invoke(app, ["data", "check", "spec.yaml"])
    assert checked.exit_code == 0, checked.output
    assert f"60 images below {ROOT}" in checked.output
    planned = CliRunner().invoke(app, ["plan", "spec.yaml", "--json"])
    assert json.loads(planned.stdout)["images"]["train"] == 36
    bucket.rm("photos/colours", recursive=True)
    gone = CliRunner().invoke(app, ["plan", "spec.yaml"])
    assert gone.exit_code != 0
    assert isinstance(gone.exception, DataError) or "data.root" in gone.output
