"""One reader per name: files that are whole, and what opens them.

Started by `test_readers.py` as a program of its own: each reader runs in a forked process with bounds on
memory and time, so that a hang or a blow-up is a failure and not the end of the tests.
"""

from __future__ import annotations

import io
import json
import os
import resource
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import safetensors.torch
import tifffile
import torch
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import TypeAdapter
from pydicom.data import get_testdata_file

from transferflow.data.files.decode import decode_image
from transferflow.data.formats.mask_pixels import read_mask
from transferflow.data.listing import load_listing
from transferflow.errors import TransferflowError
from transferflow.models.weights.state_files import read_state
from transferflow.spec.examples import SPEC_EXAMPLE
from transferflow.spec.load import load_spec
from transferflow.spec.sections.data import Data
from transferflow.spec.sections.truth import BoxTruth, LabelTruth
from transferflow.store import write_sealed
from transferflow.tasks.bundle_files import DESCRIPTION, WEIGHTS, read_description, write_description

MEMORY = 3 << 30
"""Bytes of address space that a reader may take beyond what the imports took."""
SECONDS = 3.0
"""CPU time of one file."""
ALL_SECONDS = 60
_PIXELS = np.random.default_rng(0).integers(0, 256, (12, 17, 3), np.uint8)
_BOX = (
    "<object><name>a</name><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>9</xmax><ymax>8</ymax></bndbox></object>"
)
_COCO = {
    "images": [{"id": 1, "file_name": "a.png", "width": 17, "height": 12}],
    "annotations": [
        {
            "id": 1,
            "image_id": 1,
            "category_id": 2,
            "bbox": [1, 2, 3.5, 4],
            "iscrowd": 0,
            "area": 14,
            "segmentation": [[1, 1, 9, 1, 9, 9]],
        }
    ],
    "categories": [{"id": 2, "name": "a"}],
}
_EXTREME = (b"\xff" * 4, b"\0" * 4, b"\x7f\xff\xff\xff", b"-1", b"1e999", b"NaN")
Read = Callable[[Path], object]


def _image(form: str, **options: object) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(_PIXELS).save(stream, form, **options)
    return stream.getvalue()


def _gray(form: str, values: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(values).save(stream, form)
    return stream.getvalue()


def _tiff(**options: object) -> bytes:
    stream = io.BytesIO()
    tifffile.imwrite(stream, _PIXELS, **options)
    return stream.getvalue()


def _parquet() -> bytes:
    stream = io.BytesIO()
    pq.write_table(pa.table({"path": ["a.png"] * 9, "label": ["x", None, "y"] * 3}), stream)
    return stream.getvalue()


def _pickle() -> bytes:
    stream = io.BytesIO()
    torch.save({"a.weight": torch.ones(3, 2)}, stream)
    return stream.getvalue()


def _list(name: str, truth: LabelTruth | BoxTruth, **fields: object) -> Read:
    """List a data set of one image in which the file stands under a name."""

    def read(file: Path) -> object:
        root = file.parent / "root"
        target = root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        for image in ("a.png", "images/a.png", "JPEGImages/a.png"):
            (root / image).parent.mkdir(exist_ok=True)
            if not (root / image).exists():
                (root / image).write_bytes(_image("PNG"))
        target.write_bytes(file.read_bytes())
        return load_listing(TypeAdapter(Data).validate_python({"root": str(root), **fields}), truth)

    return read


def _yolo(name: str) -> Read:
    def read(file: Path) -> object:
        root = file.parent / "root"
        for other, text in (("labels/a.txt", "0 .5 .5 .2 .2\n"), ("data.yaml", "names: [a]\n")):
            (root / other).parent.mkdir(parents=True, exist_ok=True)
            (root / other).write_text(text)
        return _list(name, BoxTruth(), format="yolo", names="data.yaml")(file)

    return read


def _bundle(file: Path) -> object:
    """The description as it was written, broken; then one that was written broken."""
    folder = file.parent / "bundle"
    folder.mkdir(exist_ok=True)
    safetensors.torch.save_file({"a": torch.ones(2)}, folder / WEIGHTS)
    write_description(folder, {"classes": ["a"]})
    (folder / DESCRIPTION).write_bytes(file.read_bytes())
    with suppress(TransferflowError):
        read_description(folder)
    try:
        content = json.loads(file.read_bytes())
    except (ValueError, RecursionError):
        return None
    if isinstance(content, dict):
        write_sealed(folder / DESCRIPTION, content)
        return read_description(folder)
    return None


READERS: Mapping[str, tuple[Read, tuple[bytes, ...]]] = {
    "csv": (
        _list("t.csv", LabelTruth(), format="csv", file="t.csv"),
        (b'path,label,split\na.png,"x, y",train\nb.png,y,\n', b"path;label\r\na.png;1\r\n"),
    ),
    "parquet": (_list("t.pq", LabelTruth(), format="parquet", file="t.pq"), (_parquet(),)),
    "coco": (
        _list("a.json", BoxTruth(), format="coco", images=".", annotations="a.json"),
        (json.dumps(_COCO).encode(), json.dumps(_COCO, indent=1).encode()),
    ),
    "voc": (
        _list("Annotations/a.xml", BoxTruth(), format="voc"),
        (
            b"<annotation><filename>a.png</filename><size><width>17</width><height>12</height></size>"
            + _BOX.encode()
            + b"</annotation>",
        ),
    ),
    "yolo labels": (_yolo("labels/a.txt"), (b"0 .5 .5 .2 .2\n0 .1 .1 .4 .1 .4 .4\n",)),
    "yolo names": (_yolo("data.yaml"), (b"path: .\ntrain: images\nnc: 2\nnames: {0: a, 1: b}\n",)),
    "mask": (
        lambda file: (read_mask(file, colours=False), read_mask(file, colours=True)),
        (_gray("PNG", _PIXELS[..., 0] % 3), _gray("TIFF", _PIXELS[..., 0] % 3)),
    ),
    "tiff": (
        lambda file: decode_image(file, 3),
        (_tiff(), _tiff(compression="zlib"), _tiff(tile=(16, 16), bigtiff=True), _image("TIFF")),
    ),
    "dicom": (lambda file: decode_image(file, 1), (Path(get_testdata_file("CT_small.dcm")).read_bytes(),)),
    "image": (
        lambda file: decode_image(file, 3),
        (
            *(_image(form) for form in ("PNG", "JPEG", "GIF", "BMP", "WEBP")),
            _image("JPEG", progressive=True),
            _gray("PNG", _PIXELS[..., 0].astype(np.uint16) * 9),
        ),
    ),
    "weights": (read_state, (safetensors.torch.save({"a.weight": torch.ones(3, 2)}), _pickle())),
    "bundle": (_bundle, (b'{"format": 1, "classes": ["a"], "weights": "x"}',)),
    "spec": (
        load_spec,
        (yaml.safe_dump(SPEC_EXAMPLE).encode(), b"name: x\nextends: y.yaml\ntask: {kind: detection}\n"),
    ),
}


@st.composite
def broken_files(draw: st.DrawFn, whole: tuple[bytes, ...]) -> bytes:
    """One of the files, with some bytes changed, cut out, put in again or repeated."""
    content = bytearray(draw(st.sampled_from(whole)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(content) - 1)))
        length = draw(st.integers(1, 16))
        match draw(st.sampled_from(("set", "cut", "insert", "repeat", "end"))):
            case "set":
                content[at : at + length] = draw(
                    st.one_of(
                        st.binary(min_size=1, max_size=4),
                        st.sampled_from(
                            (b"\xff" * 4, b"\0" * 4, b"\x7f\xff\xff\xff", b"-1", b"1e999", b"NaN")
                        ),
                    )
                )
            case "cut":
                del content[at : at + length]
            case "insert":
                content[at:at] = content[:length]
            case "repeat":
                content[at:at] = bytes(content[at : at + length]) * draw(st.sampled_from((2, 30, 1000)))
            case _:
                del content[at:]
    return bytes(content)


def fuzz(name: str, examples: int, *, chance: bool) -> None:
    """Read broken files; what is raised is one of our errors, and in time.

    Args:
        name: The reader.
        examples: How many files.
        chance: Whether each run has files of its own.
    """
    read, whole = READERS[name]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "file"

        def check(content: bytes) -> None:
            file.write_bytes(content)
            start = time.process_time()
            try:
                read(file)
                said = "a result"
            except TransferflowError as error:
                said = str(error)
            assert 0 < len(said) < 100_000
            assert time.process_time() - start < SECONDS

        for content in whole:
            check(content)
        options = settings(
            max_examples=examples,
            derandomize=not chance,
            database=None,
            deadline=None,
            phases=(Phase.generate,) if examples < 1000 else tuple(Phase),
            suppress_health_check=list(HealthCheck),
        )
        options(given(broken_files(whole))(check))()


def run_apart(name: str, examples: int, *, chance: bool) -> str:
    """Fuzz a reader in a process with bounds; returns what went wrong, nothing if nothing did."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if not child:
        os.close(read_end)
        try:
            used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
            seconds = ALL_SECONDS + examples
            resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
            fuzz(name, examples, chance=chance)
            os._exit(0)
        except BaseException:
            os.write(write_end, traceback.format_exc()[-6000:].encode())
            os._exit(1)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as stream:
        said = stream.read().decode(errors="replace")
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return said or ("" if status == 0 else f"ended with {status}")


if __name__ == "__main__":
    # Lazily imported decoders are loaded before the processes part, once for all of them.
    for loaded in READERS:
        fuzz(loaded, 1, chance=False)
    wanted, count = sys.argv[3:] or list(READERS), int(sys.argv[1])
    print(json.dumps({one: run_apart(one, count, chance=sys.argv[2] == "chance") for one in wanted}))
