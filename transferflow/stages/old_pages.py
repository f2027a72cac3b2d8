"""Reports that belong to no run that is kept, and sheets of training images that no report shows.

```
<home>/reports/<spec>.html                          the latest, which stays
<home>/reports/<model>/version-<n>.html             a version's
<home>/reports/[<model>/]training-images-<key>.html the sheet of the reports beside it
```
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from transferflow.stages.artifacts import SHEET
from transferflow.stages.context import RunContext
from transferflow.stages.register.standing import report_path

_VERSION = re.compile(r"version-(?P<version>\d+)(-[0-9a-f]{8})?\.html")
_NAME = Path(SHEET)
_SHEET = re.compile(rf"{re.escape(_NAME.stem)}-[0-9a-f]{{12}}{re.escape(_NAME.suffix)}")


@dataclass(frozen=True)
class Page:
    """A file below the reports.

    Attributes:
        path: The file.
        size: Bytes.
        changed: When it was written, in seconds since 1970.
    """

    path: Path
    size: int
    changed: float


def find_old_pages(context: RunContext, kept: Iterable[Path], before: float) -> list[Page]:
    """Reports of versions without a run or an alias, and sheets that are linked from no other report.

    Args:
        context: Whose reports they are, and which registry has the aliases.
        kept: Reports of the runs that stay.
        before: What was written since then stays; seconds since 1970.

    Raises:
        RegistryError: If the registry does not answer.
    """
    needed = set(kept)
    pages = [page for page in _pages(context.reports) if page.changed < before]
    reports = [
        page
        for page in pages
        if _VERSION.fullmatch(page.path.name)
        and page.path not in needed
        and not _has_alias(context, page.path)
    ]
    gone = {page.path for page in reports}
    sheets = [page for page in pages if _SHEET.fullmatch(page.path.name)]
    shown = {folder: _shown_in(folder, gone) for folder in {sheet.path.parent for sheet in sheets}}
    return [*reports, *(sheet for sheet in sheets if sheet.path.name not in shown[sheet.path.parent])]


def _pages(reports: Path) -> Iterator[Page]:
    for path in sorted([*reports.glob("*.html"), *reports.glob("*/*.html")]):
        status = path.stat()
        yield Page(path, status.st_size, status.st_mtime)


def _has_alias(context: RunContext, page: Path) -> bool:
    """Whether the version in this home's registry has one; of another registry's the run would know."""
    found, model, registry = _VERSION.fullmatch(page.name), page.parent.name, context.registry
    if found is None or page != report_path(context.reports, model, int(found["version"]), registry.identity):
        return False
    version = registry.lookup(model, found["version"])
    return version is not None and bool(version.aliases)


def _shown_in(folder: Path, gone: set[Path]) -> set[str]:
    """Names of the sheets that the reports of a folder link to."""
    stay = [path for path in folder.glob("*.html") if path not in gone and not _SHEET.fullmatch(path.name)]
    return {name for path in stay for name in _SHEET.findall(path.read_text("utf-8", errors="replace"))}
