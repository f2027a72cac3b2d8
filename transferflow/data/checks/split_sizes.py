"""When chance gave a split too few images: say so, and name a seed that does better."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from transferflow.data.checks.inspected import Inspected
from transferflow.data.records import SPLITS, Finding, SplitName
from transferflow.data.split import assign_splits, cut_splits
from transferflow.spec.sections.data import Split

_SEEDS = 50
_MANY = 5_000
_FAR = 0.25
_ENOUGH = 3
Unevenness = tuple[int, float]


def check_shares(found: Inspected, split: Split) -> Iterator[Finding]:
    """Report splits without images (errors) and, in small sets, splits that chance made uneven.

    Uneven: a split is more than a quarter smaller or larger than its share, or a class with three images
    or more is missing in one.
    """
    advice = _advise_seed(found, split)
    wanted = ("test",) if split.leaves_all_for_test else SPLITS
    for name in wanted:
        if name not in found.splits:
            reason = (
                f"no image is in {name}, of {len(found.splits)} in all{_why_empty(found, name) or advice}"
            )
            yield Finding("empty_split", "error", f"data.split.{name}", reason)
    if advice and set(found.splits) == set(SPLITS):
        sizes = Counter(found.splits)
        shares = ", ".join(f"{name} {sizes[name] / len(found.splits):.1%}" for name in SPLITS)
        reason = f"chance made the splits uneven: {shares}{advice}"
        yield Finding("uneven_split", "warning", "data.split", reason)


def _why_empty(found: Inspected, name: SplitName) -> str:
    """Why folders, lists or columns leave a split without an image."""
    declared = [record.split for record in found.records]
    moved = Counter(split for row, split in zip(declared, found.splits, strict=True) if row == name)
    if moved:
        where = " and ".join(moved)
        return (
            f": all {moved.total()} that folders, lists or columns put there are copies of images in {where}"
        )
    if None in declared:
        return ""
    if name in (cut := cut_splits(declared)):
        source = cut[name]
        return (
            f": it is cut from {source}, and of {declared.count(source)} images the stable hash gave it none"
        )
    said = ", ".join(f"{split} {count}" for split, count in Counter(declared).items())
    return (
        f": folders, lists or columns say the split of every image ({said}), and a declared image goes to no "
        "other one; name images for it, or let nothing say the split, and the stable hash decides"
    )


def _advise_seed(found: Inspected, split: Split) -> str:
    """A better seed, in words; empty where the splits are even, or folders and columns say them."""
    if split.leaves_all_for_test or any(record.split for record in found.records):
        return ""
    if not _ENOUGH <= len(found.records) <= _MANY:
        return ""
    labels = [set(found.labels_of(row)) for row in range(len(found.records))]
    best, seed = unevenness(found.splits, labels, split), split.seed
    if best[0] == 0 and best[1] <= _FAR:
        return ""
    content = dict(zip((record.id for record in found.records), found.hashes, strict=True))
    for other in range(_SEEDS):
        assigned = assign_splits(found.records, split.model_copy(update={"seed": other}), content=content)
        then = unevenness([assigned[record.id] for record in found.records], labels, split)
        if then < best:
            best, seed = then, other
    if seed == split.seed:
        return ""
    return f"; before a first training, data.split.seed: {seed} is the best of {_SEEDS}"


def unevenness(splits: Sequence[SplitName], labels: Sequence[set[str]], split: Split) -> Unevenness:
    """Classes that miss a split, and the largest relative distance of a split's size from its share."""
    shares: dict[SplitName, float] = {"train": split.train, "val": split.val, "test": split.test}
    counts: Counter[tuple[SplitName, str]] = Counter()
    totals: Counter[str] = Counter()
    for name, present in zip(splits, labels, strict=True):
        counts.update((name, label) for label in present)
        totals.update(present)
    missing = sum(not counts[name, label] for label in totals if totals[label] >= _ENOUGH for name in SPLITS)
    sizes = Counter(splits)
    return missing, max(abs(sizes[name] / (shares[name] * len(splits)) - 1) for name in SPLITS)
