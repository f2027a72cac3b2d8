"""What a former snapshot knows about splits, as far as the hash does not say the same anyway."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from transferflow.data.records import DatasetSnapshot, Record, SplitName
from transferflow.data.snapshot.manifest import read_table
from transferflow.data.split import FormerSplits, hash_split
from transferflow.spec.sections.data import Split

_BATCH = 10_000


def load_former_splits(
    previous: DatasetSnapshot, split: Split, records: Sequence[Record], content: Mapping[str, str]
) -> FormerSplits:
    """Splits of a former snapshot that the records may need; images that did not change cost no memory.

    Args:
        previous: The former snapshot.
        split: The spec's shares and seed.
        records: The records of now.
        content: Their sha256 by id.
    """
    groups = {record.id: record.group for record in records}
    grouped = any(group is not None for group in groups.values())
    by_group: dict[str, SplitName] = {}
    by_content: dict[str, SplitName] = {}
    by_id: dict[str, SplitName] = {}
    table = read_table(previous, ["id", "group", "sha256", "split"])
    for batch in table.to_batches(max_chunksize=_BATCH):
        columns = (batch[name].to_pylist() for name in ("id", "group", "sha256", "split"))
        for name, group, sha, place in zip(*columns, strict=True):
            if group is not None:
                by_group[group] = place
            if content.get(name) != sha or groups.get(name) != group:
                by_id[name] = by_content[sha] = place
            elif group is None and (grouped or place != hash_split(sha, split)):
                by_content[sha] = place
    return FormerSplits(by_group, by_content, by_id)
