"""The gate on real runs: what is compared with what, and what is left out."""

import re

import pyarrow.parquet as pq
import pytest

from transferflow.data.snapshot.build import load_snapshot
from transferflow.evaluation.results import load_evaluation
from transferflow.registry.base import RegisteredVersion
from transferflow.registry.gate import VerdictKind
from transferflow.stages.register.challenger import Challenger
from transferflow.stages.register.champion import decide_resamples, trained_on
from transferflow.stages.register.decision import decide
from transferflow.tasks.bundle import load_bundle


def split_contents(outcome, *splits):
    """Hashes of the images of some splits, straight from the manifest."""
    rows = pq.read_table(outcome.folder / "manifest.parquet", columns=["split", "sha256"]).to_pylist()
    return {row["sha256"] for row in rows if row["split"] in splits}


def test_every_rule_of_the_gate_says_what_it_found(two_runs):
    _, (_, second) = two_runs
    reasons = "\n".join(second[3].summary["reasons"])
    assert "accuracy against the champion (version 1" in reasons
    assert "97.5% interval" in reasons  # two sides of 0.05 / 4 each
    assert "macro_f1 against the champion" in reasons
    assert "recall meets the gate of at least 0 in every class" in reasons
    assert re.search(r"size \d\.\d+ MB meets the gate of at most 100 MB", reasons)
    assert re.search(r"time for one image [\d.]+ ms meets the gate of at most 60000 ms", reasons)
    assert "comparison 1 of 4, which together promote" in reasons


def test_images_that_the_champion_was_trained_on_are_left_out_and_counted(two_runs):
    _, (first, second) = two_runs
    test = split_contents(second[0], "test")
    known = test & split_contents(first[0], "train", "val")
    assert 0 < len(known) < len(test)
    said = f"{len(known)} test images that version 1 was trained on are left out of the comparison"
    assert any(f"{said}: {len(test) - len(known)} are left" in r for r in second[3].summary["reasons"])
    measured = load_evaluation((second[2].folder / "metrics.json").read_text())
    assert measured.images == len(test)  # the report is about all of them


def test_what_is_not_known_is_not_taken_for_nothing(two_runs):
    context, (first, second) = two_runs
    ours = load_snapshot(second[0].folder)
    tags = {"snapshot": load_snapshot(first[0].folder).fingerprint, "prepare_key": first[0].key}
    assert trained_on(context, RegisteredVersion("colours", 1, "run", (), tags), ours)
    same = RegisteredVersion("colours", 1, "run", (), {"snapshot": ours.fingerprint})
    assert trained_on(context, same, ours) == frozenset()
    for elsewhere in ({}, tags | {"prepare_key": "0" * 64}):
        assert trained_on(context, RegisteredVersion("colours", 1, "run", (), elsewhere), ours) is None


@pytest.mark.parametrize("same", [True, False])
def test_the_champion_itself_is_known_by_its_evaluation(two_runs, tmp_path, same):
    """Any other evaluation goes through the gate: here it is too large."""
    context, (first, second) = two_runs
    prepared, trained, evaluated, _ = second
    spec = load_bundle(trained.folder).spec
    gate = spec.registration.gate.model_copy(
        update={"max_size_mb": 0.001, "against_champion": None, "also": ()}
    )
    spec = spec.model_copy(update={"registration": spec.registration.model_copy(update={"gate": gate})})
    challenger = Challenger(spec, load_snapshot(prepared.folder), prepared, trained, evaluated)
    key = (second if same else first)[2].key
    champion = RegisteredVersion("colours", 1, "run", (), {"evaluation_key": key})
    assert champion.evaluation_key == key
    verdict = decide(challenger, context, context.registry, champion, tmp_path).verdict
    assert verdict.kind is (VerdictKind.PROMOTE if same else VerdictKind.REJECT)
    assert (verdict.reasons == ("it is the champion already",)) is same


def test_ends_far_out_in_the_tails_take_more_resamples():
    assert decide_resamples(200, 0.95) == 1600
    assert decide_resamples(5000, 0.95) == 5000
    assert decide_resamples(1000, 0.998) == 20_000
