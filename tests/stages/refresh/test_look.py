import json
import os
import shutil
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta

import pytest
from PIL import Image

from transferflow.errors import DataError, PlanError
from transferflow.stages.outcome import StageOutcome
from transferflow.stages.prepare import prepare
from transferflow.stages.refresh.look import look_at_data, require_no_loss
from transferflow.stages.refresh.record import RefreshRecord, Trained, read_record, write_record
from transferflow.stages.refresh.turn import holding_refresh, remember
from transferflow.store import BusyError

REFRESH = {"poll": "0 * * * *", "settle_minutes": 0.0}


@pytest.fixture
def spec_of(build_spec):
    """A spec with this rule."""
    return lambda **rule: build_spec(deployment={"refresh": REFRESH | rule})


def add(folder, count, label="red", first=100, colour=(200, 40, 40)):
    for number in range(first, first + count):
        Image.new("RGB", (36, 36), (colour[0], colour[1], number % 250)).save(
            folder / label / f"{number}.png"
        )


def look(spec, context):
    found = look_at_data(spec, context)
    return found.decision.action, found.decision.reason, found.change


def test_a_spec_without_a_rule_is_told_what_to_write(build_spec, context):
    with pytest.raises(PlanError, match=r"deployment\.refresh(?s:.*)min_changed: 50"):
        look_at_data(build_spec(), context)


def test_without_a_training_it_trains(spec_of, context):
    assert look(spec_of(), context)[0] == "train"


def test_unchanged_data_is_seen_without_a_write(trained, context):
    assert look(trained, context)[:2] == (
        "nothing",
        "no image was added, removed, relabelled or edited since the last training",
    )
    path = context.refresh_record(trained.name)
    before = {file: file.stat().st_mtime_ns for file in context.home.rglob("*") if file.is_file()}
    second = look_at_data(trained, context)
    assert (second.decision.action, second.is_news) == ("nothing", False)
    after = {file: file.stat().st_mtime_ns for file in context.home.rglob("*") if file.is_file()}
    assert {k: v for k, v in after.items() if "locks" not in k.parts} == {
        k: v for k, v in before.items() if "locks" not in k.parts
    }
    assert read_record(path).change.changed == 0


def test_what_is_new_is_counted_by_class(trained, context, colour_folder, spec_of):
    add(colour_folder, 3)
    add(colour_folder, 1, "blue", 200, (40, 40, 200))
    shutil.move(colour_folder / "green" / "00.png", colour_folder / "blue" / "moved.png")
    action, reason, change = look(spec_of(min_changed=50), context)
    assert (action, change.added, change.images) == ("nothing", 4, 60)
    assert change.new_per_class == {"blue": 1, "red": 3}
    assert change.relabelled == 1  # the same content, in the folder of another class
    assert "4 added, 1 relabelled (of 60 images)" in reason
    assert look(spec_of(min_changed=50, min_new_per_class=3), context)[0] == "train"
    assert look(spec_of(min_changed=50, on_relabel=True), context)[0] == "train"
    assert look(spec_of(min_changed=5), context)[0] == "train"


def test_small_changes_are_trained_on_when_the_training_is_old(trained, context, colour_folder, spec_of):
    add(colour_folder, 1)
    assert look(spec_of(min_changed=50, max_age_days=7.0), context)[0] == "nothing"
    path = context.refresh_record(trained.name)
    record = read_record(path)
    long_ago = (datetime.now(UTC) - timedelta(days=8)).isoformat()
    write_record(path, RefreshRecord(trained=Trained(record.trained.key, long_ago)))
    assert look(spec_of(min_changed=50, max_age_days=7.0), context)[0] == "train"


def test_half_of_the_data_gone_stops_before_anything_is_prepared(trained, context, colour_folder):
    for file in list(colour_folder.rglob("*.png"))[:30]:
        file.unlink()
    prepared = list((context.home / "artifacts" / "prepare").iterdir())
    action, reason, _ = look(trained, context)
    assert action == "stop"
    assert "30 of 60 images are gone" in reason
    assert list((context.home / "artifacts" / "prepare").iterdir()) == prepared
    with pytest.raises(DataError, match="30 of 60 images are gone"):
        require_no_loss(trained, context)  # a run by schedule
    add(colour_folder, 30)  # as many as before, and half of them others
    assert look(trained, context)[0] == "stop"


def age(folder, seconds):
    then = time.time() - seconds
    for path in (folder, *folder.rglob("*")):
        os.utime(path, (then, then))


def test_it_waits_for_a_copy_under_way(trained, context, colour_folder, spec_of):
    patient = spec_of(settle_minutes=5.0)
    age(colour_folder, 301)
    assert look(patient, context)[0] == "nothing"
    add(colour_folder, 2)
    os.utime(colour_folder / "red" / "100.png", (1, 1))  # as `cp -p` does
    os.utime(colour_folder / "red" / "101.png", (1, 1))
    action, reason, _ = look(patient, context)
    assert (action, "red changed" in reason) == ("wait", True), reason
    age(colour_folder, 301)
    os.utime(colour_folder / "red" / "100.png", (time.time() + 1e6,) * 2)  # a camera's clock
    assert look(patient, context)[0] == "train"


def test_it_waits_for_files_that_a_table_names(build_spec, context, tmp_path, colour_folder):
    rows = [f"{path.relative_to(colour_folder)},{path.parent.name}" for path in colour_folder.rglob("*.png")]
    table = colour_folder / "labels.csv"
    table.write_text("\n".join(["path,label", *rows]))
    spec = build_spec(
        data={"format": "csv", "root": str(colour_folder), "file": "labels.csv", "image_size": 32},
        deployment={"refresh": REFRESH},
    )
    prepared = prepare(spec, context)
    remember(spec, context, [prepared, StageOutcome("register", "", "", False, 1.0, {"verdict": "HOLD"})])
    table.write_text("\n".join(["path,label", *rows, "red/new.png,red"]))
    action, reason, _ = look(spec, context)
    assert (action, "1 named files are not there yet, such as labels.csv:62" in reason) == ("wait", True), (
        reason
    )
    add(colour_folder, 1)
    (colour_folder / "red" / "100.png").rename(colour_folder / "red" / "new.png")
    assert look(spec, context)[0] == "train"


def test_a_folder_that_is_gone_is_an_error_and_no_change(trained, context, colour_folder):
    colour_folder.rename(colour_folder.with_name("unmounted"))
    with pytest.raises(DataError):
        look_at_data(trained, context)


def test_a_damaged_record_is_as_none(trained, context):
    path = context.refresh_record(trained.name)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"base": "x"}))
    assert read_record(path) == RefreshRecord()
    assert look(trained, context)[0] == "train"


def test_one_refresh_of_a_spec_at_a_time(trained, context):
    with holding_refresh(trained, context), pytest.raises(BusyError), holding_refresh(trained, context):
        pass


def test_a_look_loads_nothing_heavy():
    code = "import sys, transferflow.stages.refresh.look, transferflow.stages.refresh.turn as t; print(*(" + (
        "m for m in ('torch', 'mlflow', 'prefect', 'scipy', 'numpy', 'pyarrow') if m in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
