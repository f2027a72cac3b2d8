"""`transferflow deploy`."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from transferflow.cli.console import output
from transferflow.cli.options import Home, Override, SpecPaths, TrackingUri
from transferflow.errors import Problem, SpecError
from transferflow.text import printable

if TYPE_CHECKING:
    from pipelines.deployments import DeployReport
    from transferflow.spec import ExperimentSpec


def deploy(
    paths: SpecPaths,
    overrides: Override = None,
    work_pool: Annotated[
        str | None,
        typer.Option("--work-pool", metavar="NAME", help="Instead of the one that each spec names."),
    ] = None,
    home: Home = None,
    tracking_uri: TrackingUri = None,
) -> None:
    """Put specs on a Prefect server: one deployment each, with its schedule; again to update them.

    Workers run them in the folder in which this command is given.
    """
    specs = load_specs(paths, overrides or ())
    project = Path.cwd()
    pipelines: Any = import_module("transferflow.pipelines.deployments")
    targets = [
        pipelines.Target(spec, _from_project(path, project), work_pool or spec.deployment.work_pool)
        for path, spec in specs.items()
    ]
    parameters = {
        "overrides": list(overrides) if overrides else None,
        "home": str(home.absolute()) if home else None,
        "tracking_uri": tracking_uri,
    }
    report = pipelines.deploy_specs(targets, project, {k: v for k, v in parameters.items() if v is not None})
    _print_report(report, sorted({target.work_pool for target in targets}))


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


def _print_report(report: DeployReport, pools: Sequence[str]) -> None:
    table = Table("deployment", "spec", "work pool", "schedule", "", box=None, pad_edge=False)
    for row in report.deployed:
        cells = (row.name, row.path, row.work_pool, row.schedule or "by hand", row.change)
        table.add_row(*(printable(cell) for cell in cells))
    out = output()
    out.print(table)
    for name in report.orphans:
        out.print(f"train/{name} has no spec here; to remove it: prefect deployment delete train/{name}")
    out.print(f"\nserver    {report.url}")
    out.print("next:")
    for pool in pools:
        out.print(f"  prefect worker start --pool {pool}   # runs what is due")
    if report.deployed:
        out.print(f"  prefect deployment run {report.deployed[0].name}   # now")
