"""The run of a training that is under way: each point once, and register goes on with it."""

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from transferflow.errors import RegistryError, TransferflowError
from transferflow.registry.gate import Verdict, VerdictKind
from transferflow.registry.mlflow_live import LiveRun, MlflowLive
from transferflow.training.tracking.spool import Point, Spool

HOLD = Verdict(VerdictKind.HOLD, ("not surely better",))
TRAINED = "t" * 64


@pytest.fixture
def spool(tmp_path):
    made = Spool(tmp_path / "tracking")
    made.begin()
    return made


@pytest.fixture
def live(registry, spool):
    return lambda: MlflowLive(registry, LiveRun("chest-xray", "tiny", TRAINED), spool)


def tell(spool, *steps, family="step"):
    for step in steps:
        spool.append(Point(family, step, 1_700_000_000_000 + step, {"train_loss": step / 4}))


def runs(registry):
    client = MlflowClient(registry.location)
    experiment = client.get_experiment_by_name("chest-xray").experiment_id
    return client.search_runs([experiment])


def steps(registry, name="step/train_loss"):
    [run] = runs(registry)
    client = MlflowClient(registry.location)
    return [found.step for found in client.get_metric_history(run.info.run_id, name)]


def test_points_arrive_while_the_training_goes_on_and_register_goes_on_with_the_run(
    registry, spool, live, make_entry
):
    sender = live()
    tell(spool, 1, 2)
    sender.send()
    [run] = runs(registry)
    assert (run.info.status, run.info.run_name) == ("RUNNING", "tiny")
    assert sender.address == f"mlflow ui --backend-store-uri '{registry.location}'"
    tell(spool, 3)
    tell(spool, 0, family="epoch")
    sender.send()
    assert steps(registry) == [1, 2, 3]
    sender.close(finished=True)

    tell(spool, 4)  # could not be sent
    made = registry.register(make_entry(points=spool), HOLD, None)
    [same] = runs(registry)
    assert made.run_id == same.info.run_id == run.info.run_id
    assert steps(registry) == [1, 2, 3, 4]
    assert sorted(steps(registry, "epoch/train_loss")) == [0, 1]  # the history has an epoch more
    assert same.info.status == "FINISHED"
    assert same.data.params["optimizer.lr"] == "0.001"
    assert same.data.tags["transferflow.evaluation_key"] == "e" * 64


@pytest.mark.parametrize("at", ["log_batch", "save_shipped"])
def test_a_point_that_arrived_unheard_is_not_sent_again(registry, spool, live, monkeypatch, at):
    tell(spool, 1, 2)
    real = MlflowClient.log_batch

    def unheard(self, *given, **named):
        real(self, *given, **named)
        raise MlflowException("timed out")

    def killed(self, place, shipped):
        if not shipped.doubtful:
            raise OSError(5, "killed")
        return save(self, place, shipped)

    save = Spool.save_shipped
    kept = []  # the database would take a second copy for the first: look at what it is given

    def keep(self, *given, **named):
        kept.append(named)
        real(self, *given, **named)

    monkeypatch.setattr(MlflowClient, "log_batch", keep)
    with monkeypatch.context() as patch:
        if at == "log_batch":
            patch.setattr(MlflowClient, "log_batch", unheard)
        else:
            patch.setattr(Spool, "save_shipped", killed)
        with pytest.raises(TransferflowError):
            live().send()
    kept.clear()
    tell(spool, 3)
    live().send()
    assert [metric.step for call in kept for metric in call["metrics"]] == [3]
    assert steps(registry) == [1, 2, 3]


def test_who_goes_on_finds_the_run_and_asks_it_where_nothing_is_remembered(registry, spool, live):
    tell(spool, 1)
    first = live()
    first.send()
    first.close(finished=False)
    assert runs(registry)[0].info.status == "KILLED"
    for file in spool.folder.glob("shipped-*"):
        file.unlink()
    tell(spool, 2)
    live().send()
    assert steps(registry) == [1, 2]
    assert runs(registry)[0].info.status == "RUNNING"


def test_a_run_that_somebody_deleted_is_made_anew_with_all_points(registry, spool, live):
    tell(spool, 1)
    sender = live()
    sender.send()
    MlflowClient(registry.location).delete_run(runs(registry)[0].info.run_id)
    tell(spool, 2)
    with pytest.raises(RegistryError):
        sender.send()
    sender.send()
    assert steps(registry) == [1, 2]


def test_a_training_that_is_registered_already_is_not_shown_again(registry, spool, live, make_entry):
    registry.register(make_entry(), HOLD, None)
    tell(spool, 1)
    sender = live()
    sender.send()
    sender.close(finished=True)
    assert len(runs(registry)) == 1
    assert sender.address == ""


def test_a_kill_while_it_is_registered_leaves_one_run(registry, spool, live, make_entry, tmp_path):
    tell(spool, 1)
    live().send()
    with pytest.raises(Exception, match="missing"):
        registry.register(make_entry(points=spool, files=(tmp_path / "missing.html",)), HOLD, None)
    entry = make_entry(points=spool, params={"optimizer": {"lr": 1e-3}, "training": {"workers": 2}})
    made = registry.register(entry, HOLD, None)
    [run] = runs(registry)
    assert (made.run_id, run.info.status) == (run.info.run_id, "FINISHED")
    assert steps(registry) == [1]
    assert steps(registry, "test/accuracy") == [0]
    assert len(run.inputs.dataset_inputs) == 1
    assert run.data.params["training.workers"] == "2"


def test_another_evaluation_of_the_training_has_a_run_of_its_own(registry, spool, live, make_entry):
    tell(spool, 1)
    live().send()
    first = registry.register(make_entry(points=spool), HOLD, None)
    second = registry.register(make_entry(key="f" * 64, points=spool), HOLD, None)
    assert first.run_id != second.run_id
    client = MlflowClient(registry.location)
    assert [m.step for m in client.get_metric_history(second.run_id, "step/train_loss")] == [1]


def test_another_home_does_not_write_into_the_run(registry, spool, live, tmp_path):
    tell(spool, 1)
    live().send()
    other = Spool(tmp_path / "other")
    other.begin()
    tell(other, 1)
    MlflowLive(registry, LiveRun("chest-xray", "tiny", TRAINED), other).send()
    assert len(runs(registry)) == 2
