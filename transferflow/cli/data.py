"""`transferflow data`: what is in a data set, what is wrong with it, what changed."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from transferflow.cli.console import output
from transferflow.cli.help import examples
from transferflow.cli.options import Home, Json, Override, Quiet, SpecFile, Verify, naming_the_spec
from transferflow.errors import DataError
from transferflow.text import counted, printable

if TYPE_CHECKING:
    from transferflow.data.records import DatasetSnapshot, Finding, Severity, SplitName
    from transferflow.data.snapshot.diff import Change, SnapshotDiff

app = typer.Typer(help="Look at a data set before and between trainings.", no_args_is_help=True)

_SHOWN = 10
_CLASSES = 20
_MIN_PREFIX = 6
_COUNTED: dict[Severity, tuple[str, str]] = {
    "error": ("error", "errors"),
    "quarantine": ("file left out", "files left out"),
    "warning": ("warning", "warnings"),
}
_COLOURS: dict[Severity, str] = {"error": "bold red", "quarantine": "yellow", "warning": "cyan"}


@app.command(
    "check",
    epilog=examples(
        "data check my-spec.yaml", "data check my-spec.yaml --limit 100", "data check my-spec.yaml --json"
    ),
)
def check(
    spec: SpecFile,
    overrides: Override = None,
    home: Home = None,
    as_json: Json = False,
    limit: Annotated[
        int, typer.Option("--limit", metavar="N", min=1, help="Print up to N findings of each kind.")
    ] = 3,
    verify: Verify = False,
    quiet: Quiet = False,
) -> None:
    """Open every file of a spec's data set and list what is wrong; exit code 1 if it can't be used."""
    from transferflow.cpus import usable_cpus
    from transferflow.data.listing import load_listing
    from transferflow.data.remote.address import is_remote, shown_root
    from transferflow.data.remote.copies import forget_copies
    from transferflow.data.snapshot.changes import without_facts
    from transferflow.data.snapshot.inspection import check_listing
    from transferflow.spec.load import load_spec
    from transferflow.stages.context import build_context
    from transferflow.stages.former import previous_snapshot
    from transferflow.stages.progress import file_bar

    context = build_context(home)
    loaded = load_spec(spec, overrides or ())
    with naming_the_spec(spec, overrides or ()):
        if verify and is_remote(loaded.data.root):
            forget_copies(loaded.data.root)
        listing = load_listing(loaded.data, loaded.task.truth)
    former = previous_snapshot(context.store, loaded)
    with file_bar("checking images", context.interactive) as progress:
        checked = check_listing(
            loaded.data,
            loaded.task.truth,
            listing,
            previous=without_facts(former) if verify else former,
            workers=usable_cpus(),
            progress=progress,
        )
    findings = [*checked.findings, *(_changed(former) if verify and former else ())]
    failed = any(finding.severity == "error" for finding in findings)
    if as_json:
        report = {
            "ok": not failed,
            "root": shown_root(loaded.data.root, listing.root),
            "classes": listing.classes,
            "images": len(listing.records),
            "splits": checked.images,
            "class_counts": checked.class_counts,
            "findings": [asdict(finding) for finding in findings],
        }
        sys.stdout.write(json.dumps(report, indent=2) + "\n")
    else:
        root = shown_root(loaded.data.root, listing.root)
        output().print(f"{counted(len(listing.records), 'image')} below {printable(root)}")
        if any(checked.images.values()):
            _print_counts(checked.images, checked.class_counts)
        _print_findings(findings, limit)
    if failed:
        raise typer.Exit(1)


def _changed(former: DatasetSnapshot) -> Iterator[Finding]:
    """Files that are not what the last snapshot was made from, whatever their size and time say."""
    from transferflow.cpus import usable_cpus
    from transferflow.data.records import Finding
    from transferflow.data.snapshot.changes import changed_files

    for name in changed_files(former, usable_cpus()):
        reason = "it is not what the last snapshot was made from: `run --verify` prepares what is there now"
        yield Finding("changed_file", "warning", name, reason)


def _print_counts(images: Mapping[SplitName, int], counts: Mapping[SplitName, Mapping[str, int]]) -> None:
    """Images that can be used and what they show, per split: a class that one of them lacks stands out."""
    table = Table(box=None, pad_edge=False)
    for title in ("", *images):
        table.add_column(title, justify="right" if title else "left")
    table.add_row("images", *(f"{count:,}" for count in images.values()))
    names = list(counts["train"])
    # The rarest are what one looks for.
    rarest = sorted(names, key=lambda name: min(counts[split][name] for split in images))[:_CLASSES]
    for name in [name for name in names if name in rarest]:
        table.add_row(f"  {printable(name)}", *(f"{counts[split][name]:,}" for split in images))
    output().print(table)
    if len(names) > _CLASSES:
        more = counted(len(names) - _CLASSES, "class more", "classes more")
        output().print(f"  … and {more}, none of them rarer; --json has all")


def _print_findings(findings: Sequence[Finding], limit: int) -> None:
    from transferflow.data.checks.findings import group_findings

    out = output()
    if not findings:
        out.print("nothing is wrong")
        return
    groups = group_findings(findings)
    for group in groups:
        heading = Text(f"\n{group.severity}  ", style=_COLOURS[group.severity])
        out.print(heading + Text(f"{group.kind}: {len(group.findings):,}", style="bold"))
        for finding in group.findings[:limit]:
            out.print(f"    {printable(finding.where)}: {printable(finding.reason)}")
        if len(group.findings) > limit:
            out.print(f"    … and {len(group.findings) - limit:,} more")
    counts = Counter(finding.severity for finding in findings)
    out.print("\n" + ", ".join(counted(counts[name], *_COUNTED[name]) for name in _COLOURS if counts[name]))
    longest = max(len(group.findings) for group in groups)
    if longest > limit:
        out.print(f"all of them: --limit {longest}, or --json for machines")


@app.command("diff", epilog=examples("data diff 169731b0 8c1f02ab"))
def diff(
    old: Annotated[str, typer.Argument(metavar="OLD", help="Folder or key of a snapshot.")],
    new: Annotated[str, typer.Argument(metavar="NEW", help="Folder or key of a later one.")],
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Show what changed between two snapshots: images, labels, splits, and shifts.

    A snapshot's key is that of prepare, as `transferflow plan SPEC` shows it.
    """
    from transferflow.data.snapshot.diff import compare_snapshots

    result = compare_snapshots(find_snapshot(old, home), find_snapshot(new, home))
    if as_json:
        sys.stdout.write(json.dumps(result.to_json(), indent=2) + "\n")
    else:
        _print_diff(result)


def find_snapshot(name: str, home: Path | None) -> DatasetSnapshot:
    """Snapshot in a folder, or in the store under a key or the start of one.

    Raises:
        DataError: If there is none, or several keys start so.
    """
    from transferflow.data.snapshot.build import SNAPSHOT, load_snapshot
    from transferflow.stages.context import build_context

    if (Path(name) / SNAPSHOT).is_file():
        return load_snapshot(Path(name))
    stored = build_context(home).store.folder("prepare", "key").parent
    keys = sorted(path.name for path in stored.glob("[!.]*")) if stored.is_dir() else []
    found = [key for key in keys if key.startswith(name)] if len(name) >= _MIN_PREFIX else []
    if len(found) == 1:
        return load_snapshot(stored / found[0])
    raise DataError(
        "several snapshots have such a key" if found else "there is no such snapshot",
        found=name,
        allowed=f"a folder with {SNAPSHOT}, or a key: {', '.join(key[:12] for key in keys) or '(none yet)'}",
        hint="`transferflow run SPEC` makes snapshots; their folders are printed by `transferflow plan`",
    )


def _print_diff(result: SnapshotDiff) -> None:
    output().print(f"{result.old[:12]} → {result.new[:12]}: {counted(result.kept, 'image')} kept")
    _print_names("added", result.added)
    _print_names("removed", result.removed)
    for title in ("renamed", "edited", "relabelled", "moved"):
        changes: Sequence[Change] = getattr(result, title)
        _print_names(title, [f"{c.id}: {c.old[:40]} → {c.new[:40]}" for c in changes])
    _print_classes(result.classes.old, result.classes.new)
    shift = result.classes
    effect = f"Cramér's V {shift.cramers_v:.3f}"
    output().print(f"class shift: chi-square {shift.statistic:.4g}, p = {shift.p_value:.3g}, {effect}")
    for title, numbers, digits in (("size", result.size, 1), ("brightness", result.brightness, 3)):
        output().print(
            f"{title}: mean {numbers.old_mean:.{digits}f} → {numbers.new_mean:.{digits}f}, "
            f"KS {numbers.statistic:.3f}, p = {numbers.p_value:.3g}"
        )


def _print_names(title: str, names: Sequence[str]) -> None:
    output().print(Text(f"{title}: {len(names)}", style="bold" if names else "dim"))
    for name in names[:_SHOWN]:
        output().print(f"    {printable(name)}")
    if len(names) > _SHOWN:
        output().print(f"    … and {len(names) - _SHOWN} more (--json shows all)")


def _print_classes(old: Mapping[str, int], new: Mapping[str, int]) -> None:
    table = Table(box=None, pad_edge=False)
    table.add_column("class")
    for title in ("old", "new", "share"):
        table.add_column(title, justify="right")
    totals = max(1, sum(old.values())), max(1, sum(new.values()))
    for name in dict.fromkeys((*old, *new)):
        counts = old.get(name, 0), new.get(name, 0)
        shares = f"{counts[0] / totals[0]:.1%} → {counts[1] / totals[1]:.1%}"
        table.add_row(printable(name), str(counts[0]), str(counts[1]), shares)
    output().print(table)
