"""`transferflow deploy`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from transferflow.cli.console import output
from transferflow.cli.options import Home, Override, SpecPaths, TrackingUri
from transferflow.errors import Problem, SpecError
from transferflow.text import counted, printable

if TYPE_CHECKING:
    from pipelines.deployments import DeployReport
    from transferflow.spec import ExperimentSpec


def deploy(
    paths: SpecPaths,
    overrides: Override = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would change, and change nothing.")
    ] = False,
    prune: Annotated[
        bool, typer.Option("--prune", help="Remove this project's deployments whose spec is gone.")
    ] = False,
    work_pool: Annotated[
        str | None,
        typer.Option("--work-pool", metavar="NAME", help="Instead of the one that each spec names."),
    ] = None,
    project: Annotated[
        str | None,
        typer.Option(
            "--project",
            metavar="NAME",
            help="Stands before the names of the deployments; default: the repository's or folder's name.",
        ),
    ] = None,
    take_over: Annotated[
        bool,
        typer.Option("--take-over", help="Make deployments of these names that are another project's ours."),
    ] = False,
    home: Home = None,
    tracking_uri: TrackingUri = None,
) -> None:
    """Put specs on a Prefect server: their deployments, with schedules; again to update what differs.

    Workers run them in the folder in which this command is given. What is set by hand on the server, a pause
    for instance, stays.
    """
    specs = load_specs(paths, overrides or ())
    folder = Path.cwd()
    pipelines: Any = import_module("transferflow.pipelines.deployments")
    projects: Any = import_module("transferflow.pipelines.project")
    targets = [
        pipelines.Target(
            spec,
            _from_project(path, folder),
            work_pool or spec.deployment.work_pool,
            projects.spec_digest(path),
            projects.spec_version(path),
        )
        for path, spec in specs.items()
    ]
    parameters = {
        "overrides": list(overrides) if overrides else None,
        "home": str(home.absolute()) if home else None,
        "tracking_uri": tracking_uri,
    }
    report = pipelines.deploy_specs(
        targets,
        projects.find_project(folder, project),
        {name: value for name, value in parameters.items() if value is not None},
        prune=prune,
        take_over=take_over,
        dry_run=dry_run,
    )
    _print_report(report, dry_run)


def load_specs(paths: Sequence[Path], overrides: Sequence[str]) -> dict[Path, ExperimentSpec]:
    """Load every spec; a file that others extend, and that is not complete by itself, is left out.

    Raises:
        SpecError: Any of them is wrong, two have the same name, or there is none.
    """
    from transferflow.cli.spec import spec_files
    from transferflow.spec.load import check_document, read_document

    documents = {path: read_document(path, overrides) for path in spec_files(paths)}
    bases = {base for document in documents.values() for base in document.bases}
    specs: dict[Path, ExperimentSpec] = {}
    problems: list[Problem] = []
    for path, document in documents.items():
        spec, found = check_document(document)
        if spec is not None:
            specs[path] = spec
        elif path.resolve() not in bases or check_document(document, is_base=True)[1]:
            problems += found
    problems += _equal_names(specs)
    if not documents:
        problems.append(Problem("no specs found", found=" ".join(str(path) for path in paths)))
    if problems:
        raise SpecError.from_problems(problems)
    return specs


def _equal_names(specs: dict[Path, ExperimentSpec]) -> list[Problem]:
    first: dict[str, Path] = {}
    problems = []
    for path, spec in specs.items():
        if spec.name in first:
            problems.append(
                Problem(
                    "two specs have this name", f"{path}: name", spec.name, hint=f"see {first[spec.name]}"
                )
            )
        first.setdefault(spec.name, path)
    return problems


def _from_project(path: Path, project: Path) -> str:
    absolute = path.absolute()
    return str(absolute.relative_to(project) if absolute.is_relative_to(project) else absolute)


def _print_report(report: DeployReport, dry_run: bool) -> None:
    out = output()
    differing = [change for change in report.changes if change.kind != "unchanged"]
    table = Table("deployment", "spec", "work pool", "schedule", "", box=None, pad_edge=False)
    for change in differing:
        pool = f"{change.work_pool} ({report.pools[change.work_pool]})" if change.work_pool else ""
        schedule = "" if change.kind == "removed" else change.schedule or "by hand"
        cells = (change.name, change.path, pool, schedule, change.kind)
        table.add_row(*(printable(cell) for cell in cells))
        for line in change.lines:
            table.add_row(printable(f"  {line}"))
    if differing:
        out.print(table)
    for orphan in report.orphans:
        runs = f"; its schedule still runs it, {orphan.schedule}" if orphan.schedule else ""
        out.print(printable(f"{orphan.name}: {orphan.why}{runs}; --prune removes it"))
    out.print(f"\n{'dry run, nothing was done: ' if dry_run else ''}{_count(report)}")
    out.print(f"server    {report.url}")
    if not dry_run:
        _print_next(report)


def _count(report: DeployReport) -> str:
    counts = Counter(change.kind for change in report.changes)
    if set(counts) == {"unchanged"}:
        return f"nothing changed: {counted(len(report.changes), 'deployment')} as specified"
    return ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))


def _print_next(report: DeployReport) -> None:
    out = output()
    out.print("next:")
    for pool in report.pools:
        out.print(
            f"  transferflow worker --pool {pool}   # runs what is due, on a machine that has this folder"
        )
    first = next((change.name for change in report.changes if change.kind != "removed"), None)
    if first:
        out.print(f"  prefect deployment run {first}   # now")
