import pytest
import torch

from transferflow.errors import PlanError
from transferflow.training.device import (
    check_devices,
    computes_bf16_fast,
    decide_arithmetic,
    is_slow_at_bf16,
    pick_device,
)

CPU, CUDA, MPS = torch.device("cpu"), torch.device("cuda"), torch.device("mps")


@pytest.mark.parametrize(
    ("device", "bf16", "expected"),
    [
        (CPU, False, "fp32"),
        (CPU, True, "bf16"),
        (CUDA, True, "bf16"),
        (CUDA, False, "fp32"),
        (MPS, True, "fp32"),
    ],
)
def test_auto_is_a_fixed_rule(device, bf16, expected):
    assert decide_arithmetic("auto", device, bf16=bf16).precision == expected


@pytest.mark.parametrize(
    ("abilities", "fast"),
    [
        ({"cpu_name": "Intel Xeon", "avx512_bf16": True, "amx_bf16": True}, True),
        ({"cpu_name": "Intel Xeon", "avx512_bf16": True, "amx_bf16": False}, False),
        ({"cpu_name": "AMD EPYC", "avx512_bf16": True, "amx_bf16": False}, True),
        ({"cpu_name": "AMD EPYC", "avx512_bf16": False}, False),
        ({}, False),
    ],
)
def test_bf16_is_fast_where_its_instructions_are(monkeypatch, abilities, fast):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: abilities, raising=False)
    assert computes_bf16_fast(CPU) is fast
    assert is_slow_at_bf16(abilities) is (abilities.get("cpu_name") == "Intel Xeon" and not fast)


@pytest.mark.parametrize("device", [CPU, CUDA])
def test_what_is_asked_for_is_done(device):
    for setting in ("fp32", "bf16"):
        assert decide_arithmetic(setting, device, bf16=True).precision == setting


@pytest.mark.parametrize(
    ("setting", "device", "message"),
    [("fp16", CPU, "fp16 needs CUDA"), ("bf16", CUDA, "this GPU has no bf16"), ("bf16", MPS, "not tried")],
)
def test_what_the_device_can_not_do_is_refused(setting, device, message):
    with pytest.raises(PlanError, match=message):
        decide_arithmetic(setting, device, bf16=False)


@pytest.mark.parametrize(
    ("cuda", "mps", "expected"),
    [(True, True, "cuda"), (True, False, "cuda"), (False, True, "mps"), (False, False, "cpu")],
)
def test_auto_takes_the_gpu_that_is_there(monkeypatch, cuda, mps, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert pick_device("auto").type == expected
    if mps:
        assert pick_device("mps").type == "mps"
    else:
        with pytest.raises(PlanError, match="there is no MPS device") as caught:
            pick_device("mps")
        assert caught.value.problems[0].allowed == ("auto, cuda, cpu" if cuda else "auto, cpu")


def test_apples_gpu_keeps_pytorchs_own_layout():
    assert decide_arithmetic("auto", MPS, bf16=True).memory_format is torch.contiguous_format
    assert not torch.amp.GradScaler("mps", enabled=False).is_enabled()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu():
    assert pick_device("auto").type == "cpu"
    with pytest.raises(PlanError, match="there is no CUDA device"):
        pick_device("cuda")


@pytest.mark.parametrize(
    ("asked", "device", "gpus", "joined", "where", "found"),
    [
        ("auto", CUDA, 2, False, "training.devices", "3 devices, 2 GPUs"),
        ("auto", CPU, 0, False, "training.devices", "3 devices, of which this machine has one: cpu"),
        ("mps", MPS, 0, False, "training.devices", "has one: mps"),
        ("cpu", CPU, 0, True, "training.sync_batch_norm", "training.device: cpu"),
    ],
)
def test_devices_that_are_not_there_are_refused(asked, device, gpus, joined, where, found):
    with pytest.raises(PlanError) as caught:
        check_devices(3, asked, device, gpus, joined)
    assert caught.value.problems[0].where == where
    assert found in caught.value.problems[0].found


@pytest.mark.parametrize(
    ("count", "asked", "device", "gpus"), [(1, "auto", CPU, 0), (3, "cpu", CPU, 0), (3, "auto", CUDA, 3)]
)
def test_devices_that_are_there_may_be_used(count, asked, device, gpus):
    check_devices(count, asked, device, gpus, sync_batch_norm=False)
