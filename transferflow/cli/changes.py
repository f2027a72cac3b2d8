"""`transferflow changes`: what merging a branch would run again."""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from transferflow.cli.options import Home
from transferflow.errors import Problem, SpecError
from transferflow.text import counted, one_line

if TYPE_CHECKING:
    from transferflow.spec import ExperimentSpec
    from transferflow.stages.context import RunContext
    from transferflow.stages.plan.changes import SpecChange

_SHOWN = 20


def changes(
    since: Annotated[
        str, typer.Argument(metavar="REVISION", help="A branch or commit, such as origin/main.")
    ],
    paths: Annotated[
        list[Path] | None,
        typer.Argument(metavar="PATH", help="Specs, or folders of specs; default: specs."),
    ] = None,
    home: Home = None,
) -> None:
    """Write as Markdown which specs differ from a git revision, which stages would run again, and why.

    Data and models are not needed; where the store has a spec's last training, its time is told.
    """
    from transferflow.stages.context import build_context
    from transferflow.stages.plan.changes import decide_spec_change

    wanted = paths or [Path("specs")]
    with tempfile.TemporaryDirectory() as name:
        old = _specs(_checked_out(since, Path(name)), wanted)
    new = _specs(Path(), wanted)
    lines: list[str] = []
    for path in sorted({*old, *new}):
        change = decide_spec_change(old.get(path), new.get(path))
        if change.kind != "same":
            lines += _section(path, change, new.get(path), build_context(home))
    sys.stdout.write("\n".join(lines or ["No spec differs: nothing would run again."]) + "\n")


def _checked_out(revision: str, folder: Path) -> Path:
    """Unpack this folder of a git repository as it was, elsewhere."""
    words = ["git", "archive", "--format=tar", revision, "--", "."]
    done = subprocess.run(words, capture_output=True, check=False)
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip()
        raise SpecError.from_problems(
            [Problem("git can't give the specs as they were", where=revision, found=said)]
        )
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return folder


def _specs(folder: Path, paths: Sequence[Path]) -> Mapping[str, ExperimentSpec]:
    """Every valid spec below a folder, by its path from there; what is wrong is `validate`'s to say."""
    from transferflow.cli.spec import spec_files
    from transferflow.spec.load import check_document, read_document

    found = [folder / path for path in paths if (folder / path).exists()]
    documents = {file: read_document(file) for file in spec_files(found)} if found else {}
    checked = {file: check_document(document)[0] for file, document in documents.items()}
    return {file.relative_to(folder).as_posix(): spec for file, spec in checked.items() if spec is not None}


def _section(
    path: str, change: SpecChange, spec: ExperimentSpec | None, context: RunContext
) -> Iterator[str]:
    yield f"### `{_plain(path)}`: {change.kind}"
    yield ""
    if change.kind == "gone":
        yield "Its deployment stays until `transferflow deploy --prune`."
    elif change.stages:
        yield f"Runs again: **{', '.join(change.stages)}**{_time(change, spec, context)}"
    else:
        yield "Nothing runs again."
    if change.reasons:
        yield ""
        yield from (f"- `{_plain(reason)}`" for reason in change.reasons[:_SHOWN])
        if change.reasons[_SHOWN:]:
            yield f"- … and {len(change.reasons) - _SHOWN} more"
    yield ""


def _time(change: SpecChange, spec: ExperimentSpec | None, context: RunContext) -> str:
    from transferflow.stages.plan.last_training import load_last_training

    if spec is None or "train" not in change.stages:
        return ""
    seconds = load_last_training(context.store, spec.name).epoch_seconds
    if seconds is None:
        return "; how long training takes is not known here"
    epochs = spec.training.epochs
    minutes = seconds * epochs / 60
    return f"; training takes about {minutes:.1f} minutes ({counted(epochs, 'epoch')}, by the last training)"


def _plain(text: str) -> str:
    return one_line(text).replace("`", "'")
