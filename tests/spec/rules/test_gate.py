import pytest

from transferflow.errors import SpecError
from transferflow.spec.load import load_spec

SPEC = """
name: x
task: {task}
data: {{format: image_folder, root: images}}
backbone: {{source: timm, name: test_resnet, weights: none}}
registration: {{gate: {gate}}}
"""


@pytest.fixture
def load(tmp_path):
    """Load a spec with this gate."""

    def run(gate, task="{kind: classification}"):
        (tmp_path / "spec.yaml").write_text(SPEC.format(gate=gate, task=task))
        return load_spec(tmp_path / "spec.yaml").registration.gate

    return run


def test_a_whole_gate(load):
    gate = load(
        "{metric: auroc, minimum: 0.9, "
        "against_champion: {mode: non_inferior, margin: 0.01, family_error: 0.05, horizon: 52}, "
        "also: [{metric: macro_f1, minimum: 0.5, against_champion: {margin: 0.0}}], "
        "per_class_floor: {recall: 0.5}, max_ece: 0.1, max_size_mb: 50, max_latency_ms: 20.5}"
    )
    assert (gate.against_champion.mode, gate.against_champion.horizon) == ("non_inferior", 52)
    assert gate.also[0].against_champion.margin == 0
    assert gate.per_class_floor == {"recall": 0.5}


@pytest.mark.parametrize(
    ("gate", "said"),
    [
        ("{against_champion: {mode: non_inferior}}", "the margin is the loss that is accepted"),
        ("{against_champion: {mode: non_inferior, margin: -0.1}}", "more than 0, as in 0.01"),
        ("{against_champion: {family_error: 0.05}}", "of a `horizon`: set both, or neither"),
        ("{against_champion: {horizon: 5}}", "set both, or neither"),
        ("{against_champion: {family_error: 0.05, horizon: 5, confidence: 0.9}}", "leave it out"),
        ("{against_champion: {mode: inferior}}", "non_inferior"),
        ("{also: [{metric: macro_f, minimum: 0.5}]}", "did you mean"),
        ("{also: [{metric: macro_f1}]}", "asks for nothing"),
        ("{also: [{metric: accuracy, minimum: 0.5}]}", "has rules for accuracy already"),
        (
            "{also: [{metric: auroc, minimum: 0.5}, {metric: auroc, minimum: 0.6}]}",
            "has rules for auroc already",
        ),
        ("{also: [{metric: auroc, maximum: 0.5}]}", "auroc is from 0 to 1: set `minimum`"),
        ("{per_class_floor: {recal: 0.5}}", "no per-class metric 'recal'"),
        ("{per_class_floor: {recall: 2}}", "per_class_floor.recall"),
        ("{max_size_mb: 0}", "max_size_mb"),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_place(load, gate, said):
    with pytest.raises(SpecError) as caught:
        load(gate)
    assert said in str(caught.value)
    assert "spec.yaml:6" in str(caught.value)


def test_what_a_task_has_not_is_refused(load):
    with pytest.raises(SpecError, match="no probabilities that could be calibrated"):
        load("{max_ece: 0.1}", "{kind: segmentation}")
    with pytest.raises(SpecError, match="it has: iou, dice"):
        load("{per_class_floor: {f1: 0.1}}", "{kind: segmentation}")
