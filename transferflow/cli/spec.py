"""`transferflow validate` and `transferflow schema`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from transferflow.cli.console import output, problem_text
from transferflow.cli.options import Json, Override, SpecPaths
from transferflow.errors import Problem, TransferflowError
from transferflow.text import printable

if TYPE_CHECKING:
    from transferflow.spec.load import Document

BAD_SPEC = 2
_SUFFIXES = {".yaml", ".yml"}


def validate(
    paths: SpecPaths,
    overrides: Override = None,
    as_json: Json = False,
) -> None:
    """Check specs, every problem at once; needs no data. Exit code 2 if any is wrong."""
    results = check_files(list(spec_files(paths)), overrides or ())
    if as_json:
        rows = [_as_json(path, problems) for path, problems in results.items()]
        sys.stdout.write(json.dumps({"ok": not any(results.values()), "specs": rows}, indent=2) + "\n")
    else:
        _print_results(results)
    if not results or any(results.values()):
        raise typer.Exit(BAD_SPEC)


def schema(
    file: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Where to; default: print it.")
    ] = None,
) -> None:
    """Write the JSON schema of specs, for the YAML support of editors."""
    from transferflow.spec.schema.json_schema import spec_schema
    from transferflow.store import write_atomic

    text = json.dumps(spec_schema(), indent=2, ensure_ascii=False) + "\n"
    if file is None:
        sys.stdout.write(text)
        return
    try:
        write_atomic(file, text)
    except OSError as error:
        reason = error.strerror or str(error)
        raise TransferflowError("the schema can't be written", where=str(file), found=reason) from error
    output().print(f"wrote {printable(str(file))}; use it in a spec with a first line of")
    output().print(f"  # yaml-language-server: $schema={printable(str(file))}")


def check_files(files: Sequence[Path], overrides: Sequence[str] = ()) -> dict[Path, tuple[Problem, ...]]:
    """Check every file and return its problems.

    A file that another one of them extends need not be complete: what is missing in it is no problem.
    """
    from transferflow.spec.load import read_document

    documents = {path: read_document(path, overrides) for path in files}
    bases = {base for document in documents.values() for base in document.bases}
    return {path: _problems(document, path.resolve() in bases) for path, document in documents.items()}


def _problems(document: Document, is_base: bool) -> tuple[Problem, ...]:
    from transferflow.spec.load import check_document, place_problems
    from transferflow.spec.sections.augmentation import Custom

    spec, problems = check_document(document, is_base=is_base)
    if spec is None or not isinstance(spec.augmentation, Custom):
        return problems
    # The one check that needs a heavy library, and only for specs that name its transforms.
    from transferflow.data.transforms.named import check_transforms

    found = check_transforms(spec.augmentation, spec.data.channels, spec.task.truth.moving)
    return place_problems(document, [(("augmentation", *path), message) for path, message in found])


def spec_files(paths: Sequence[Path]) -> Iterator[Path]:
    """Files as they are given, and every YAML file in folders; each once."""
    seen: set[Path] = set()
    for path in paths:
        for file in sorted(_below(path)) if path.is_dir() else [path]:
            if file not in seen:
                seen.add(file)
                yield file


def _below(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.suffix in _SUFFIXES and not hidden and path.is_file():
            yield path


def _print_results(results: dict[Path, tuple[Problem, ...]]) -> None:
    for path, problems in results.items():
        status = Text("failed", style="bold red") if problems else Text("ok    ", style="green")
        output().print(status + Text(f" {printable(str(path))}"))
        for problem in problems:
            output().print(problem_text(problem))
    bad = sum(1 for problems in results.values() if problems)
    if not results:
        output().print("no specs found: name .yaml files, or folders that hold them")
    elif bad:
        count = sum(len(problems) for problems in results.values())
        problems_in_all = f"{count} problem{'' if count == 1 else 's'}"
        output().print(f"\n{bad} of {len(results)} specs failed, {problems_in_all}")
    else:
        output().print(f"\nall {len(results)} specs are ok" if len(results) > 1 else "\n1 spec is ok")


def _as_json(path: Path, problems: Sequence[Problem]) -> dict[str, Any]:
    rows = [
        {"where": p.where, "what": p.what, "found": p.found, "allowed": p.allowed, "hint": p.hint}
        for p in problems
    ]
    return {"file": str(path), "ok": not problems, "problems": rows}
