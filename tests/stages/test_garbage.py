import json
import os
import subprocess
import sys
import time

import pytest

from transferflow.cli.main import main
from transferflow.registry.base import OWN, RegistryEntry
from transferflow.registry.gate import Verdict, VerdictKind
from transferflow.stages.context import RunContext
from transferflow.stages.garbage import collect_garbage, decide_garbage
from transferflow.stages.prepare import prepare
from transferflow.store import digest, garbage
from transferflow.store.garbage import Stored, in_use, remove_stored, stored_in
from transferflow.tasks.bundle_files import write_description

DAY = 24 * 3600.0


def stored(kind="artifacts", stage="train", key="k", age=0.0):
    return Stored(kind, stage, key, None, 10, 1e9 - age)


@pytest.mark.parametrize(
    ("found", "goes"),
    [
        (stored(age=2 * DAY), True),
        (stored(age=0.9 * DAY), False),
        (stored(age=2 * DAY, key="needed"), False),
        (stored(age=2 * DAY, key="needed", stage="evaluate"), True),
        (stored("work", age=2 * DAY), False),
        (stored("work", age=8 * DAY), True),
        (stored("tracking", age=2 * DAY), False),
        (stored("tracking", age=8 * DAY, key="needed"), True),
    ],
)
def test_what_is_young_or_needed_stays(found, goes):
    assert bool(decide_garbage([found], {("train", "needed")}, 1e9)) is goes


def age_all(folder, days):
    then = time.time() - days * DAY
    for path in folder.rglob("*"):
        if "in-use" not in path.parts:
            os.utime(path, (then, then))


@pytest.fixture
def run_of(build_spec, tmp_path):
    """A run that registered a model of two small files: real artifacts, a real version, no training."""
    context = RunContext(tmp_path / "home")
    snapshot = prepare(build_spec(), context).summary["fingerprint"]

    def put(stage, inputs, name, content):
        key = digest(inputs)
        context.store.obtain(stage, key, inputs, lambda folder: (folder / name).write_text(content))
        return key

    def run(seed, verdict):
        bundle = tmp_path / f"bundle-{seed}"
        bundle.mkdir()
        (bundle / "weights.safetensors").write_bytes(bytes(64))
        write_description(bundle, {"classes": ["a"]})
        trained = put("train", {"snapshot": snapshot, "seed": seed}, "weights.safetensors", "x" * 1000)
        inputs = {"snapshot": snapshot, "model": trained, "evaluation": {"bootstrap": 0}}
        evaluated = put("evaluate", inputs, "metrics.json", "{}")
        entry = RegistryEntry("m", "m", evaluated, bundle, "d", "f" * 64, "data")
        before = context.registry.champion("m")
        made = context.registry.register(entry, Verdict(verdict, ()), before)
        summary = json.dumps({"model": "m", "version": made.version})
        inputs = {"name": "m", "evaluation": evaluated, "registry": OWN}
        put("register", inputs, "registration.json", summary)
        for stage in ("train", "evaluate", "register"):
            for path in (context.home / "artifacts" / stage).glob("*/*"):
                if time.time() - path.stat().st_mtime < DAY:
                    then = time.time() - (30 - seed) * DAY
                    os.utime(path, (then, then))
        return trained

    return context, run


def write_pages(reports):
    """Reports of four versions and the latest, each with links to sheets of training images."""
    sheets = [f"training-images-{letter * 12}.html" for letter in "abc"]
    links = {"m/version-1": [0], "m/version-2": [0, 1], "m/version-3": [1], "m/version-4": [], "m": [2]}
    for page, linked in links.items():
        (reports / "m").mkdir(parents=True, exist_ok=True)
        (reports / f"{page}.html").write_text(" ".join(f'<a href="{sheets[each]}">' for each in linked))
    for sheet in ("m/" + sheets[0], "m/" + sheets[1], sheets[2], sheets[1], "index.html"):
        (reports / sheet).write_text("")
    age_all(reports, 30)
    (reports / "m" / "version-9.html").write_text("of a run that is not registered yet")
    return sheets


@pytest.mark.slow
def test_champion_and_last_runs_stay_with_all_that_they_came_from(run_of):
    context, run = run_of
    champion = run(0, VerdictKind.PROMOTE)
    rejected = [run(seed, VerdictKind.REJECT) for seed in (1, 2, 3)]
    age_all(context.home / "artifacts" / "prepare", 30)
    sheets = write_pages(context.reports)
    gc = [sys.executable, "-m", "transferflow.cli.main", "gc", "--keep", "1", "--home", str(context.home)]
    shown = subprocess.run([*gc, "--dry-run"], capture_output=True, text=True, check=True).stdout
    assert "artifacts/train: 2 folders" in shown
    assert "reports: 4 files" in shown
    assert "would be freed; 7 folders left" in shown  # a snapshot, and three stages of two runs
    assert collect_garbage(context, 1, dry_run=False).in_use  # this process has asked for them
    assert {each.key for each in stored_in(context.home) if each.stage == "train"} == {champion, *rejected}
    garbage._MARKS.clear()
    subprocess.run(gc, capture_output=True, text=True, check=True)
    left = {each.key for each in stored_in(context.home) if each.stage == "train"}
    assert left == {champion, rejected[-1]}
    assert [each.stage for each in stored_in(context.home)].count("prepare") == 1
    pages = {path.relative_to(context.reports).as_posix() for path in context.reports.rglob("*.html")}
    versions = {f"m/version-{number}.html" for number in (1, 4, 9)}
    assert pages == {"index.html", "m.html", sheets[2], f"m/{sheets[0]}", *versions}
    assert main(gc[3:]) == 0  # nothing more goes


def test_an_abandoned_snapshot_goes_and_one_that_is_asked_for_stays(build_spec, tmp_path):
    home = tmp_path / "home"
    context = RunContext(home)
    for folder in ("artifacts/prepare/old", "artifacts/prepare/asked", "work/train/given-up"):
        (home / folder).mkdir(parents=True)
        (home / folder / "file").write_text("12345")
    age_all(home, 9)
    held = subprocess.Popen(
        [sys.executable, "-c", f"{HOLDS}\nin_use(Path({str(home)!r}), 'prepare', 'asked')\n{WAITS}"],
        stdout=subprocess.PIPE,
    )
    held.stdout.readline()
    assert collect_garbage(context, 5, dry_run=True).freed == 15
    found = collect_garbage(context, 5, dry_run=False)
    assert {each.key for each in found.removed} == {"old", "given-up"}
    assert [each.key for each in found.in_use] == ["asked"]
    held.kill()
    held.wait()
    assert collect_garbage(context, 5, dry_run=False).freed == 5
    assert not list(stored_in(home))


HOLDS = "from pathlib import Path\nfrom transferflow.store.garbage import in_use"
WAITS = "import time\nprint('held', flush=True)\ntime.sleep(60)"


def test_a_removed_artifact_is_made_anew(build_spec, tmp_path):
    spec, context = build_spec(), RunContext(tmp_path / "home")
    made = prepare(spec, context)
    assert not collect_garbage(context, 1, dry_run=False).removed
    [artifact] = stored_in(context.home)
    age_all(context.home, 2)
    assert not collect_garbage(context, 1, dry_run=False).removed  # the spec's last one
    in_use(context.home, "prepare", made.key)
    assert not remove_stored(context.home, artifact)
