import logging
from pathlib import Path

import pytest
from prefect import flow
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType
from prefect.client.schemas.sorting import FlowRunSort
from transferflow.pipelines.inspection import decide_place
from transferflow.pipelines.steps import stage_step

from transferflow.data.snapshot.build import load_snapshot
from transferflow.data.snapshot.manifest import read_table
from transferflow.errors import FlowError
from transferflow.spec.load import load_spec
from transferflow.stages.context import RunContext
from transferflow.stages.prepare import prepare

SPEC = Path("tiny.yaml")


@pytest.mark.parametrize(
    ("shards", "address", "place"),
    [
        (0, None, "here"),
        (39, None, "here"),
        (40, None, "threads"),
        (1, "tcp://10.0.0.7:8786", "here"),
        (2, "tcp://10.0.0.7:8786", "dask"),
    ],
)
def test_few_shards_stay_here(shards, address, place):
    assert decide_place(shards, address) == place


@pytest.fixture
def small_shards(monkeypatch):
    """36 images are 4 shards."""
    monkeypatch.setattr("transferflow.data.snapshot.shards.SHARD_SIZE", 9)


@flow
def prepare_in_a_flow(home, *overrides):
    return stage_step("prepare", load_spec(SPEC, overrides), RunContext(home), ()).result()


def on_dask(address):
    return ("execution.prepare.kind=dask", f"execution.prepare.address={address}")


def manifest(path):
    return read_table(load_snapshot(Path(path)))


@pytest.fixture(scope="module")
def expected(project, tmp_path_factory):
    """The manifest that is made without Prefect."""
    return manifest(prepare(load_spec(SPEC), RunContext(tmp_path_factory.mktemp("home"))).path)


@pytest.mark.slow
def test_a_large_set_is_mapped_over_threads(expected, small_shards, tmp_path, monkeypatch, client):
    monkeypatch.setattr("transferflow.pipelines.inspection._LARGE", 4)
    assert manifest(prepare_in_a_flow(tmp_path)["path"]).equals(expected)
    finished = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=["COMPLETED"])))
    inner, outer = client.read_flow_runs(flow_run_filter=finished, sort=FlowRunSort.START_TIME_DESC, limit=2)
    assert (inner.state.name, inner.parameters) == ("Completed", {})
    assert client.read_task_run(inner.parent_task_run_id).flow_run_id == outer.id
    assert not list(tmp_path.glob("work/prepare/*"))


@pytest.mark.slow
def test_the_same_set_is_mapped_over_dask(expected, small_shards, tmp_path, monkeypatch, client):
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None, protocol="tcp"
    ) as cluster:
        before = cluster.scheduler.transition_counter
        prepared = prepare_in_a_flow(tmp_path, *on_dask(cluster.scheduler_address))
        assert manifest(prepared["path"]).equals(expected)
        assert cluster.scheduler.transition_counter >= before + 4  # it has seen the shards


@pytest.mark.slow
def test_a_scheduler_that_is_not_there(small_shards, project, tmp_path, monkeypatch, client):
    pytest.importorskip("distributed")  # its settings would go with the block, if it were loaded in it
    dask = pytest.importorskip("dask")
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    with dask.config.set({"distributed.comm.timeouts.connect": "1s"}):
        state = prepare_in_a_flow(tmp_path, *on_dask("tcp://127.0.0.1:9"), return_state=True)
    assert state.name == "Failed"
    with pytest.raises(
        FlowError, match=r"(?s)execution\.prepare\.address: the images can't be inspected.*127\.0\.0\.1:9"
    ):
        state.result()
