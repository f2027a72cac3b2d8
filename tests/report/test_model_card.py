"""The card of a real model, read by Hugging Face's own library."""

import pytest
from huggingface_hub import ModelCard

from transferflow.registry.mlflow_registry import MlflowRegistry


@pytest.fixture(scope="module")
def card(two_runs):
    """The card in the registered bundle of the first run."""
    context, (first, _) = two_runs
    registry = MlflowRegistry(context.home)
    bundle = registry.bundle(registry.find("colours", "1"))
    return ModelCard.load(bundle / "README.md"), first


def test_its_metadata_are_those_of_hugging_face(card):
    data = card[0].data
    assert (data.library_name, data.pipeline_tag) == ("transferflow", "image-classification")
    measured = {result.metric_type: result.metric_value for result in data.eval_results}
    summary = card[1][2].summary["metrics"]
    assert measured == pytest.approx({name: one["value"] for name, one in summary.items()}, abs=1e-6)
    assert {result.dataset_split for result in data.eval_results} == {"test"}


def test_its_text_says_what_a_stranger_has_to_know(card):
    text = card[0].text
    summary = card[1][0].summary
    assert f"{summary['images']['train']} train" in text
    assert summary["fingerprint"] in text
    assert "`blue`, `green`, `red`" in text
    accuracy = card[1][2].summary["metrics"]["accuracy"]
    assert f"| Accuracy | {accuracy['value']:.4f} | {accuracy['low']:.4f} to {accuracy['high']:.4f} |" in text
    assert "weights: none, licence: unknown" in text
    assert "Nothing was frozen." in text
    assert "sees 32 x 32 pixels and 3 channels" in text
    assert 'tf.load_model("colours")' in text
    assert "Worst classes by recall:" in text
