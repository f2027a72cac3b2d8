"""What a data set says of its images beside the truth: columns of its table, or entries of COCO's images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from transferflow.data.files.fence import Fence
from transferflow.data.files.members import Members, require_file, require_folder
from transferflow.data.formats.coco import annotation_files, locate_image
from transferflow.data.formats.coco_file import load_coco_file
from transferflow.data.formats.exact import InexactError, exact_text
from transferflow.data.formats.groups import METADATA, path_column, plain_path
from transferflow.data.formats.table_file import TableFile, open_csv, open_parquet
from transferflow.errors import DataError
from transferflow.spec.class_names import plain_name
from transferflow.spec.sections.data import CocoData, Data, DicomData, TableData
from transferflow.spec.wording import did_you_mean

_SHOWN = 20
Cells = dict[str, dict[str, str]]
"""Text by column and image id; an empty cell has none."""


def load_columns(data: Data, fence: Fence, names: Sequence[str], key: str) -> Cells:
    """Read columns of the table that the images are listed in, or that stands beside them.

    Tables and DICOM with a table have its columns, COCO the entries of `images`; image folders, VOC, YOLO,
    masks and DICOM folders those of `metadata.csv` below the root.

    Args:
        data: The spec's `data` section.
        fence: Where the files may lie.
        names: The columns.
        key: Key path of the spec that names them, for messages.

    Returns:
        Text by column and image id; what is empty, or said of no image, is left out.

    Raises:
        DataError: If there is no such column, or no such table.
    """
    match data:
        case CocoData():
            return _from_coco(data, fence, names, key)
        case TableData() | DicomData() if data.file is not None:
            file = require_file(fence, data.file, "data.file")
            is_parquet = data.format == "parquet"
            table = open_parquet(file, data.label_separator) if is_parquet else open_csv(file)
            _require_columns(names, table.header, data.file, key)
            members = Members(fence)
            found = ((members.locate(path), cells) for path, cells in _rows(table, data.columns.path, names))
            return _by_column(names, ((path, cells) for path, cells in found if isinstance(path, str)))
        case _:
            table = _metadata(fence.root, names, key)
            _require_columns(names, table.header, METADATA, key)
            column = path_column(table)
            return _by_column(names, ((plain_path(p), cells) for p, cells in _rows(table, column, names)))


def _metadata(root: Path, names: Sequence[str], key: str) -> TableFile:
    if not (root / METADATA).is_file():
        raise DataError(
            f"nothing says the {names[0]!r} of an image",
            where=key,
            found=f"no {METADATA} in {root}",
            hint=f"put {METADATA} there, with the columns path and {', '.join(names)}; `group` and "
            "`image_size` need none",
        )
    return open_csv(root / METADATA)


def _rows(table: TableFile, column: str, names: Sequence[str]) -> Iterator[tuple[str, Mapping[str, str]]]:
    for line in table.read((column, *names)):
        path = line.cells.get(column, "").strip()
        if path and not line.problem:
            yield path, line.cells


def _by_column(names: Sequence[str], rows: Iterator[tuple[str, Mapping[str, str]]]) -> Cells:
    found: Cells = {name: {} for name in names}
    for image, cells in rows:
        for name in names:
            if text := plain_name(cells.get(name, "")):
                found[name].setdefault(image, text)
    return found


def _from_coco(data: CocoData, fence: Fence, names: Sequence[str], key: str) -> Cells:
    folder, members = require_folder(fence, data.images, "data.images"), Members(fence)
    rows: list[tuple[str, Mapping[str, str]]] = []
    known: dict[str, None] = {}
    for _, name in annotation_files(data, fence.root):
        coco = load_coco_file(require_file(fence, name, "data.annotations"), name)
        for image in coco.images.values():
            known |= dict.fromkeys(image.extra)
            path = locate_image(members, folder, name, image)
            if isinstance(path, str):
                rows.append((path, {column: _text(image.extra.get(column)) for column in names}))
    _require_columns(names, tuple(known), "the entries of `images`", key)
    return _by_column(names, iter(rows))


def _text(value: object) -> str:
    try:
        return exact_text(value)
    except InexactError:
        return ""


def _require_columns(names: Sequence[str], header: Sequence[str], where: str, key: str) -> None:
    for name in names:
        if name not in header:
            raise DataError(
                f"no column {name!r} says anything of the images",
                where=key,
                found=f"{where} with {', '.join(header[:_SHOWN]) or 'no columns'}",
                hint=did_you_mean(name, header) or "`group` and `image_size` need no column",
            )
