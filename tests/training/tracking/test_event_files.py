import sys

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from transferflow.errors import MissingDependencyError
from transferflow.stages.plan.requirements import require_tracking
from transferflow.training.tracking.event_files import EventFiles
from transferflow.training.tracking.spool import Point, Spool


@pytest.fixture
def spool(tmp_path):
    made = Spool(tmp_path / "tracking")
    made.begin()
    return made


def tell(spool, *steps):
    for step in steps:
        spool.append(Point("step", step, 1_700_000_000_000 + step, {"train_loss": step / 4}))


def shown(folder):
    """What TensorBoard's own reader shows of a folder."""
    read = EventAccumulator(str(folder)).Reload()
    assert read.Tags()["scalars"] == ["step/train_loss"]
    return [(event.step, event.value) for event in read.Scalars("step/train_loss")]


def test_tensorboard_shows_each_point_once(spool, tmp_path):
    files = EventFiles(tmp_path / "tb", "spec/key", spool)
    tell(spool, 1, 2)
    files.send()
    folder = tmp_path / "tb" / "spec" / "key"
    assert shown(folder) == [(1, 0.25), (2, 0.5)]
    tell(spool, 3)
    files.send()
    files.send()
    assert shown(folder) == [(1, 0.25), (2, 0.5), (3, 0.75)]
    open_reader = EventAccumulator(str(folder)).Reload()

    after_a_kill = EventFiles(tmp_path / "tb", "spec/key", spool)
    tell(spool, 4)
    after_a_kill.send()
    after_a_kill.close(finished=True)
    assert sum(file.stat().st_size > 0 for file in folder.iterdir()) == 1
    assert shown(folder) == [(1, 0.25), (2, 0.5), (3, 0.75), (4, 1.0)]
    open_reader.Reload()  # one that is open all the while
    assert [event.step for event in open_reader.Scalars("step/train_loss")] == [1, 2, 3, 4]


def test_after_a_failure_the_file_is_written_anew(spool, tmp_path, monkeypatch):
    files = EventFiles(tmp_path / "tb", "spec/key", spool)
    tell(spool, 1)
    files.send()
    tell(spool, 2)
    with monkeypatch.context() as patch:
        patch.setattr(files._writer, "flush", lambda: (_ for _ in ()).throw(OSError(28, "full")))
        with pytest.raises(OSError, match="full"):
            files.send()
    files.send()
    assert shown(tmp_path / "tb" / "spec" / "key") == [(1, 0.25), (2, 0.5)]


def test_what_shows_them_is_named(spool, tmp_path):
    files = EventFiles(tmp_path / "with space", "spec/key", spool)
    assert files.address == f"tensorboard --logdir '{tmp_path}/with space'"


def test_tensorboard_that_is_missing_is_said_before_anything_is_done(build_spec, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    require_tracking(build_spec())
    with pytest.raises(MissingDependencyError, match=r"pip install 'transferflow\[tensorboard\]'"):
        require_tracking(build_spec(tracking={"tensorboard": True}))
