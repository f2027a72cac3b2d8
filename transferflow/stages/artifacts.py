"""The files of each stage's artifact, named once."""

from __future__ import annotations

HISTORY = "history.json"
"""train: the figures of each epoch, the layer table, the phases and the freeze proof."""
TEMPERATURE = "temperature"
"""train: key of `history.json` with the temperature that was folded into the head, or null."""
PREFLIGHT = "preflight.json"
"""train: what was found on the first batch, before the first epoch."""
SHEET = "training-images.html"
"""train: training images as augmentation makes them; beside each copy of the report by another name."""

THRESHOLDS = "thresholds"
"""train: key of `history.json` with the threshold of each class that the validation images have chosen."""

METRICS = "metrics.json"
"""evaluate: every metric with its interval, and the curves of the figures."""
PREDICTIONS = "predictions.parquet"
"""evaluate: a row per image or object."""
MASKS = "masks"
"""evaluate: a folder of predicted masks."""

REGISTRATION = "registration.json"
"""register: version, aliases, verdict and reasons."""
REPORT = "report.html"
"""register: the report."""
CARD = "README.md"
"""register: the model card, which goes into the registered bundle."""
PROOF = "freeze_proof.json"
"""register: the freeze proof by itself, for the registry."""
