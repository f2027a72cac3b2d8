"""What a run of a deployment trains on, which its spec says for one by hand otherwise."""

from contextlib import nullcontext

import pytest
import yaml
from transferflow.pipelines import flows

from transferflow.spec.deciding import training_devices


@pytest.mark.parametrize(("deployment_id", "devices"), [(None, 1), ("a-deployment", 2)])
def test_a_deployed_run_trains_on_the_gpus_that_it_takes_and_in_a_process_of_its_own(
    build_spec, tmp_path, monkeypatch, deployment_id, devices
):
    path, seen = tmp_path / "spec.yaml", []
    document = build_spec(deployment={"gpus": 2}).model_dump(mode="json", exclude_unset=True)
    path.write_text(yaml.safe_dump(document))
    monkeypatch.setattr(flows, "own_deployment_id", lambda: deployment_id)
    monkeypatch.setattr(flows, "is_changed_run", lambda overrides: False)
    monkeypatch.setattr(flows, "logs_sent_to_server", nullcontext)
    monkeypatch.setattr(flows, "alive", lambda home: nullcontext())
    monkeypatch.setattr(flows, "_publish", lambda *given: None)
    monkeypatch.setattr(flows, "_run_stages", lambda *given: seen.append(given[:2]) or [])
    flows.train.fn(str(path), home=str(tmp_path / "home"))
    [(spec, context)] = seen
    assert (training_devices(spec), context.apart) == (devices, deployment_id is not None)
