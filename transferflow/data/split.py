"""Which image goes to train, val or test: once decided, for life.

The place of an image depends on nothing but itself: a hash of its group, or of its content, is a number
in [0, 1), and the shares cut that range in three. So a data set that is shuffled, renamed or grown, here
or on another machine, keeps every image where it was, and copies of an image are always together.

The price is chance: of n independent groups in a class, a share p has a standard deviation of
sqrt(p (1 - p) / n), so 1,000 images at 10 % give 100 ± 9.5. A quota per class would be tighter, but would
move known images whenever others are added.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from transferflow.data.records import SPLITS, Record, SplitName
from transferflow.spec.sections.data import Split

_BIT: dict[SplitName, int] = {name: 1 << i for i, name in enumerate(SPLITS)}
_ALL = sum(_BIT.values())
_GROUP, _CONTENT = "group:", "content:"


@dataclass(frozen=True)
class FormerSplits:
    """Where a former snapshot put groups, contents (sha256) and ids; they stay there."""

    by_group: Mapping[str, SplitName] = field(default_factory=dict)
    by_content: Mapping[str, SplitName] = field(default_factory=dict)
    by_id: Mapping[str, SplitName] = field(default_factory=dict)

    def find(self, record: Record, content: str | None) -> SplitName | None:
        """Return the split that the record's group, content or id had."""
        if record.group is not None and record.group in self.by_group:
            return self.by_group[record.group]
        if content is not None and content in self.by_content:
            return self.by_content[content]
        return self.by_id.get(record.id)


@dataclass(slots=True)
class _Unit:
    """What is known about images that belong together, as bit sets of splits."""

    allowed: int = _ALL
    declared: int = 0
    former: int = 0


def assign_splits(
    records: Sequence[Record],
    split: Split,
    *,
    content: Mapping[str, str] | None = None,
    former: FormerSplits | None = None,
) -> dict[str, SplitName]:
    """Give every record its split.

    What a folder or column says comes first, then the former split, then the hash. Images of one group, and
    images of equal content, share a split. Where folders or columns tear copies apart, all of them go to
    the most protected split (test before val before train); where they tear a group apart, they are
    obeyed, and `check` reports the leak.

    Args:
        records: All records.
        split: The spec's shares and seed.
        content: sha256 of each record's file, by record id; left out: the id stands for the content.
        former: Splits of a former snapshot.

    Returns:
        Split by record id.
    """
    content = content or {}
    former = former or FormerSplits()
    shares = {"train": split.train, "val": split.val, "test": split.test}
    choices = decide_choices(record.split for record in records)
    keys = unit_keys(records, content)
    units: dict[str, _Unit] = {}
    for record, key in zip(records, keys, strict=True):
        unit = units.setdefault(key, _Unit())
        unit.allowed &= choices[record.split]
        unit.declared |= _BIT[record.split] if record.split else 0
        found = former.find(record, content.get(record.id))
        unit.former |= _BIT[found] if found else 0
    result: dict[str, SplitName] = {}
    for record, key in zip(records, keys, strict=True):
        unit, position = units[key], hash_position(key, split.seed)
        if unit.allowed:
            own = former.find(record, content.get(record.id))
            result[record.id] = decide_split(unit.allowed, unit.former, own, position, shares)
        elif key.startswith(_GROUP):
            result[record.id] = decide_split(choices[record.split], 0, None, position, shares)
        else:
            result[record.id] = _most_protected(unit.declared)
    return result


def cut_splits(declared: Iterable[SplitName | None]) -> dict[SplitName, SplitName]:
    """Splits that have to be cut from another one: where everything is declared and one has no images.

    Test is cut from val, and val from train. What is declared train never becomes test: where nothing else
    is declared, nothing is cut.
    """
    found = set(declared)
    if found == {"train", "val"}:
        return {"test": "val"}
    if found == {"train", "test"}:
        return {"val": "train"}
    return {}


def decide_choices(declared: Iterable[SplitName | None]) -> dict[SplitName | None, int]:
    """Bit set of the splits that a record may go to, by the split that its folder or column says."""
    choices: dict[SplitName | None, int] = {None: _ALL} | {name: _BIT[name] for name in SPLITS}
    for name, source in cut_splits(declared).items():
        choices[source] |= _BIT[name]
    return choices


def decide_split(
    allowed: int, former: int, own: SplitName | None, position: float, shares: Mapping[str, float]
) -> SplitName:
    """Pick among the `allowed` splits: the record's own former one, its unit's, or the hash's.

    Args:
        allowed: Bit set, not empty.
        former: Bit set of the splits that members of its unit had.
        own: Split that the record itself had.
        position: The unit's hash in [0, 1).
        shares: Share of each split.
    """
    if own is not None and _BIT[own] & allowed:
        return own
    if former & allowed:
        return _most_protected(former & allowed)
    names = [name for name in SPLITS if _BIT[name] & allowed]
    position *= sum(shares[name] for name in names)
    for name in names[:-1]:
        position -= shares[name]
        if position < 0:
            return name
    return names[-1]


def hash_split(content: str, split: Split) -> SplitName:
    """Split that the hash gives to an ungrouped, undeclared image of this content (sha256)."""
    shares = {"train": split.train, "val": split.val, "test": split.test}
    return decide_split(_ALL, 0, None, hash_position(f"{_CONTENT}{content}", split.seed), shares)


def hash_position(key: str, seed: int) -> float:
    """Place of a key in [0, 1), the same on every machine."""
    value = hashlib.sha256(f"{seed}\n{key}".encode()).digest()
    return int.from_bytes(value[:8], "big") / 2**64


def unit_keys(records: Sequence[Record], content: Mapping[str, str]) -> list[str]:
    """Key of the images that a record belongs with: its group, or its content.

    Groups that share an image are one unit, under the first of their names.
    """
    own = [
        f"{_GROUP}{record.group}"
        if record.group is not None
        else f"{_CONTENT}{content[record.id]}"
        if record.id in content
        else f"id:{record.id}"
        for record in records
    ]
    if not any(record.group is not None for record in records):
        return own
    parents: dict[str, str] = {}
    first_with: dict[str, str] = {}
    for record, key in zip(records, own, strict=True):
        same = content.get(record.id)
        if same is not None:
            _unite(parents, key, first_with.setdefault(same, key))
    return [_top(parents, key) for key in own]


def _top(parents: dict[str, str], key: str) -> str:
    while (parent := parents.get(key, key)) != key:
        parents[key] = parents.get(parent, parent)
        key = parent
    return key


def _unite(parents: dict[str, str], a: str, b: str) -> None:
    a, b = _top(parents, a), _top(parents, b)
    if a != b:
        # A group's name outlives a lone copy of one of its images.
        first, second = sorted((a, b), key=lambda key: (not key.startswith(_GROUP), key))
        parents[second] = first


def _most_protected(splits: int) -> SplitName:
    return next(name for name in reversed(SPLITS) if _BIT[name] & splits)
