"""The model card: what a stranger has to know about a model, in Markdown with Hugging Face's metadata.

M. Mitchell et al., "Model cards for model reporting", FAT* 2019; the keys of the metadata are those of
Hugging Face's model cards.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import yaml

from transferflow.evaluation.results import MetricValue
from transferflow.evaluation.slices import say_worst
from transferflow.report.beside import say_sets
from transferflow.report.contents import ReportData
from transferflow.report.wording import metric_label
from transferflow.text import counted, one_line

_WORST_CLASSES = 5
_LONGEST = 300


@dataclass(frozen=True)
class CardFacts:
    """What the report's data does not hold.

    Attributes:
        model: Name of the registered model.
        pipeline_tag: Hugging Face's name of the task.
        backbone: Its source and name.
        weights: What training started from.
        licence: Of those weights; empty when unknown.
        seen: What the model sees of an image, in words.
        channels: Channels that it sees.
        class_metrics: Per-class metrics, the one that says most first.
    """

    model: str
    pipeline_tag: str
    backbone: str
    weights: str
    licence: str
    seen: str
    channels: int
    class_metrics: tuple[str, ...]


def model_card(data: ReportData, facts: CardFacts) -> str:
    """The card as text."""
    front = yaml.safe_dump(_metadata(data, facts), sort_keys=False, allow_unicode=True)
    parts = [
        f"---\n{front}---",
        f"# {_plain(facts.model)}",
        f"{_plain(facts.backbone)} for {data.task}, trained by the spec `{_plain(data.title)}`.",
        "## How to load it",
        "```python\nimport transferflow as tf\n\n"
        f'model = tf.load_model("{_plain(facts.model)}")  # or this folder\n'
        'answers = model.predict("image.jpg")\n```',
        "## Data",
        _data(data),
        "## Measured on the test images",
        _metrics(data),
        _classes(data, facts),
        _decisions(data),
        *_slices(data),
        _baselines(data),
        "## Training",
        _training(data, facts),
        "## Limits",
        _limits(data, facts),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _metadata(data: ReportData, facts: CardFacts) -> dict[str, Any]:
    metrics = [
        {"type": name, "value": round(value.value, 6), "name": metric_label(name)}
        for name, value in data.evaluation.metrics.items()
        if math.isfinite(value.value)
    ]
    result = {
        "task": {"type": facts.pipeline_tag},
        "dataset": {"name": data.title, "type": "private", "split": "test"},
        "metrics": metrics,
    }
    return {
        "library_name": "transferflow",
        "pipeline_tag": facts.pipeline_tag,
        "tags": ["transferflow", "transfer-learning", data.task],
        "metrics": [metric["type"] for metric in metrics],
        "model-index": [{"name": facts.model, "results": [result]}],
    }


def _data(data: ReportData) -> str:
    counts = ", ".join(f"{count:,} {split}" for split, count in data.data.counts.items())
    classes = ", ".join(f"`{_plain(name)}`" for name in data.classes[:50])
    more = f" and {len(data.classes) - 50:,} more" if len(data.classes) > 50 else ""
    left_out = (
        f" {counted(data.data.quarantined, 'file was', 'files were')} left out."
        if data.data.quarantined
        else ""
    )
    return (
        f"Images: {counts}.{left_out} Classes ({len(data.classes):,}): {classes}{more}. "
        f"Fingerprint of the snapshot: `{data.lineage.fingerprint}`."
    )


def _metrics(data: ReportData) -> str:
    rows = ["| metric | value | 95 % interval |", "| --- | --- | --- |"]
    for name, metric in data.evaluation.metrics.items():
        rows.append(f"| {metric_label(name)} | {_value(metric)} |")
    drawn = f"{counted(data.evaluation.images, 'image')}; intervals over its {data.evaluation.drawn}."
    return "\n".join([*rows, "", drawn])


def _classes(data: ReportData, facts: CardFacts) -> str:
    """The classes that are worst in the first metric that every row has."""
    table = data.evaluation.per_class
    for name in facts.class_metrics:
        values = {label: row[name] for label, row in table.items() if math.isfinite(row.get(name, math.nan))}
        if values:
            worst = sorted(values.items(), key=lambda pair: pair[1])[:_WORST_CLASSES]
            listed = ", ".join(f"`{_plain(label)}` {value:.3f}" for label, value in worst)
            return f"Worst classes by {name}: {listed}."
    return ""


def _decisions(data: ReportData) -> str:
    """Thresholds and prediction sets, where the model has some."""
    sets = data.evaluation.sets
    lines = [say_sets(sets)] if sets else []
    for one in data.evaluation.thresholds:
        lines.append(
            f"- `{_plain(one.name)}` is said from {one.threshold:.4f} on: sensitivity "
            f"{one.sensitivity.value:.3f}, specificity {one.specificity.value:.3f}."
        )
    return "\n".join(lines)


def _slices(data: ReportData) -> list[str]:
    """A table of the metric that decides for each way that the images are sliced by."""
    main = data.main_metric
    lower = main in data.metrics.lower_is_better
    parts = []
    for by, slices in data.evaluation.slices.items():
        rows = [
            f"| {_plain(by)} | images | {metric_label(main)} | 95 % interval |",
            "| --- | --- | --- | --- |",
        ]
        for one in slices:
            name = one.name if one.judged else f"{one.name} (too few to judge)"
            rows.append(f"| {_plain(name)} | {one.images:,} | {_value(one.metrics[main])} |")
        worst = say_worst(by, slices, main, lower_is_better=lower)
        parts.append("\n".join([*rows, "", f"{_plain(worst[0].upper() + worst[1:])}."]))
    return parts


def _baselines(data: ReportData) -> str:
    """The deciding metric of each baseline."""
    if not data.evaluation.baselines:
        return ""
    main = data.main_metric
    rows = [f"| baseline | {metric_label(main)} | 95 % interval |", "| --- | --- | --- |"]
    for name, metrics in data.evaluation.baselines.items():
        rows.append(f"| {name.replace('_', ' ')} | {_value(metrics[main])} |")
    return "\n".join(rows)


def _value(metric: MetricValue) -> str:
    """A metric and its interval as two cells."""
    value = f"{metric.value:.4f}" if math.isfinite(metric.value) else "not measured"
    has_interval = metric.low is not None and metric.high is not None
    between = f"{metric.low:.4f} to {metric.high:.4f}" if has_interval else ""
    return f"{value} | {between or _plain(metric.reason)}"


def _training(data: ReportData, facts: CardFacts) -> str:
    licence = facts.licence or "unknown"
    proofs = data.training.proofs
    frozen = [proof for proof in proofs if proof.tensors]
    if not frozen:
        proof = "Nothing was frozen."
    elif all(proof.holds for proof in frozen):
        proof = (
            "What was frozen did not change: its parameters and buffers have the same digest after training."
        )
    else:
        proof = "**What was frozen changed during training.**"
    lines = [f"- {name}: {_plain(value)}" for name, value in data.facts]
    return "\n".join(
        [*lines, f"- weights: {_plain(facts.weights)}, licence: {_plain(licence)}", f"- {proof}"]
    )


def _limits(data: ReportData, facts: CardFacts) -> str:
    lines = [
        f"The model sees {facts.seen} and {facts.channels} channels, whatever the image had.",
        "It knows the classes above and no others: what shows something else gets one of them, too.",
        "The figures are of images like those of the test split, and say nothing of others.",
        *(_plain(warning) for warning in data.warnings),
    ]
    return "\n".join(f"- {line}" for line in lines)


def _plain(text: str) -> str:
    """Text of others in one line, so that it can't pose as a heading or metadata of its own."""
    return one_line(text, _LONGEST).replace("`", "'").replace("|", "\\|")
