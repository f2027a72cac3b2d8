"""A look that ends at once where nothing was touched since the last one.

It costs a listing and a `stat` per file, loads neither torch nor NumPy nor the registry, and writes nothing:
what polls pay, most of which find nothing.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from transferflow.data.listing import listing_digest, load_listing
from transferflow.data.records import Listing
from transferflow.spec import ExperimentSpec
from transferflow.spec.sections.evaluation import Refresh
from transferflow.stages.keys import prepare_inputs
from transferflow.stages.refresh.decide import RefreshDecision, decide_drift_is_due, decide_refresh
from transferflow.stages.refresh.record import read_record
from transferflow.store import digest


def data_digest(spec: ExperimentSpec, listing: Listing) -> str:
    """sha256 (hex) over the data's section and the files that it comes to, unopened."""
    return digest(prepare_inputs(spec, listing_digest(listing)))


def peek_at_data(spec: ExperimentSpec, rule: Refresh, record_file: Path) -> RefreshDecision | None:
    """What was decided last, if that is still so; `None`: it takes a look to say.

    Args:
        spec: The spec.
        rule: Its `deployment.refresh`.
        record_file: What refreshing remembers of it.

    Raises:
        DataError: If the data set can't be listed.
    """
    record = read_record(record_file)
    trained, change = record.trained, record.change
    if trained is None or change is None or (not record.data or record.base != trained.key):
        return None
    if decide_drift_is_due(rule, change):
        return None
    if data_digest(spec, load_listing(spec.data, spec.task.truth)) != record.data:
        return None
    decision = decide_refresh(rule, change, trained.days(datetime.now(UTC)))
    return decision if decision == record.decision else None
