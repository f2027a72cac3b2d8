"""`classes.txt` beside the labels: what the tool that drew the boxes called the numbers."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path, PurePosixPath

from transferflow.data.files.fence import Fence
from transferflow.data.formats.yolo_labels import LABELS
from transferflow.data.records import Finding
from transferflow.limits import MAX_NAMES_BYTES
from transferflow.spec.class_names import plain_name
from transferflow.store import read_bounded

_FILE = "classes.txt"


def other_names(
    fence: Fence, file: str, names: Mapping[int, str], labels: Collection[str]
) -> Iterator[Finding]:
    """Say where `classes.txt` has other names, or the same in another order, than the file of names.

    Args:
        fence: The data folder, and what links may lead to.
        file: The file of names below it.
        names: Names by number.
        labels: The label files.
    """
    places = {".", LABELS, str(PurePosixPath(file).parent)}
    places.update(str(PurePosixPath(label).parent) for label in labels)
    for place in sorted(places):
        other = (PurePosixPath(place) / _FILE).as_posix()
        path = fence.root / other
        said = _read(path) if other != file and fence.holds(path) else []
        for number, name in enumerate(said):
            if names.get(number, name) != name:
                reason = (
                    f"it calls the class {number} {name!r}, and {file} calls it {names[number]!r}: the "
                    f"numbers in the labels mean what {file} says; if {_FILE} is right, set data.names: "
                    f"{other}"
                )
                yield Finding("other_names", "warning", f"{other}:{number + 1}", reason)
                break


def _read(file: Path) -> list[str]:
    """Names of the lines; none where the file is no such list."""
    try:
        lines = read_bounded(file, MAX_NAMES_BYTES).decode("utf-8-sig").rstrip().splitlines()
    except (OSError, UnicodeDecodeError):
        return []
    return [plain_name(line) for line in lines]
