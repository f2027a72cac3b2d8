"""The `data` section: where the images are, what the labels mean, and how they are split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Discriminator, Field, StrictInt, Tag, model_validator

from transferflow.spec.sections.base import (
    ChosenByForm,
    ClassName,
    Flag,
    Fraction,
    Positive,
    Section,
    Seed,
    Text,
    without_repeats,
)
from transferflow.spec.sections.intensity import FullRange, Intensity
from transferflow.spec.sections.paths import FILE_SCHEME, BelowRoot, DataRoot
from transferflow.spec.sections.size import ImageSize, Side

FitMode = Literal["crop", "letterbox", "stretch"]
Colour = tuple[
    Annotated[StrictInt, Field(ge=0, le=255)],
    Annotated[StrictInt, Field(ge=0, le=255)],
    Annotated[StrictInt, Field(ge=0, le=255)],
]


def _in_words(shares: Mapping[str, float], left_out: Sequence[str]) -> str:
    """The shares one by one, and what would make them whole where some were left out."""
    found = ", ".join(f"{name} {share:g}" for name, share in shares.items())
    rest = 1 - sum(share for name, share in shares.items() if name not in left_out)
    if not left_out:
        return found
    found += f" ({' and '.join(left_out)} left out: the default)"
    if rest <= 1e-6:
        return found
    whole = {name: rest / len(left_out) if name in left_out else share for name, share in shares.items()}
    return f"{found}; write {{{', '.join(f'{name}: {share:.4g}' for name, share in whole.items())}}}"


class Split(Section):
    """Shares of the three splits; an image keeps its split for life."""

    train: Fraction = 0.8
    """Share of images to train on; 0 with `val: 0` where nothing is trained and all images are measured."""
    val: Fraction = 0.1
    """Share of images that choose the best epoch."""
    test: Fraction = 0.1
    """Share of images that are only measured."""
    group_by: Text | None = None
    """Column whose equal values stay in one split (patient, scene, video)."""
    seed: Seed = 0
    """Changes the assignment of every image."""

    @model_validator(mode="after")
    def _shares_sum_to_one(self) -> Self:
        shares = {"train": self.train, "val": self.val, "test": self.test}
        total = sum(shares.values())
        if abs(total - 1) > 1e-6:
            left_out = [name for name in shares if name not in self.model_fields_set]
            raise ValueError(f"train + val + test must be 1, found {total:g}: {_in_words(shares, left_out)}")
        if 0 in shares.values() and not self.leaves_all_for_test:
            raise ValueError(
                "each of train, val and test must be above 0: val chooses the epoch, test measures the "
                "model; {train: 0, val: 0, test: 1} measures a model that is not trained (training.epochs: 0)"
            )
        return self

    @property
    def leaves_all_for_test(self) -> bool:
        """Whether nothing is to be learned or chosen from the images."""
        return self.train == self.val == 0


class Cache(Section):
    """Decoded images kept on disk as uint8, so that training epochs decode nothing."""

    max_gb: Positive = 20.0
    """Above this size the images are decoded on the fly instead."""


class Columns(Section):
    """Names of the columns in the table."""

    path: Text = "path"
    """Image path below `root`."""
    label: Text = "label"
    """Label; several are separated by `label_separator`."""
    group: Text = "group"
    """Patient, scene or the like; optional in the file."""
    split: Text = "split"
    """train, val or test; optional in the file."""

    @model_validator(mode="after")
    def _one_meaning_each(self) -> Self:
        names = (self.path, self.label, self.group, self.split)
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"one column can't have two meanings: {', '.join(twice)}")
        return self


class KeptShape(Section):
    """The image keeps its shape: it is neither cut, nor padded to a square, nor distorted."""

    shorter: Side | None = None
    """Pixels that the shorter side is brought to; left out (segmentation): images are not resized."""
    longer: Side | None = None
    """Pixels that the longer side has at most; the shorter one then gets fewer. Left out: 16 times
    `shorter`."""
    crop: ImageSize | None = None
    """Segmentation: the window that training cuts out of an image at random, in pixels; what is validated,
    measured and predicted is whole."""
    tile: Side | None = None
    """Segmentation: images with a longer side than this are validated, measured and predicted in overlapping
    tiles of so many pixels; left out: each as a whole."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.longer is not None and (self.shorter is None or self.longer < self.shorter):
            raise ValueError(f"longer ({self.longer}) goes with `shorter`, and must not be below it")
        return self


class _Data(Section):
    root: DataRoot
    """Folder of the data set, relative to the folder the command runs in, or its address, as in
    `s3://bucket/folder`; no path leaves it."""
    link_roots: tuple[Text, ...] = ()
    """Folders outside `root` that links in it may lead to, such as DVC's cache; any other link that leaves it
    is refused."""
    classes: Annotated[tuple[ClassName, ...], Field(min_length=1), AfterValidator(without_repeats)] | None = (
        None
    )
    """Class names in order; left out: what the data says, in its own order (COCO, YOLO, masks) or sorted."""
    channels: Annotated[StrictInt, Field(ge=1, le=64)] = 3
    """Channels that the model sees; files of another kind are converted or rejected, never guessed."""
    image_size: ImageSize | None = None
    """What the model sees, in pixels: a number is the side of a square, `[height, width]` a rectangle; left
    out: what the weights were trained with."""
    fit: (
        Annotated[
            Annotated[KeptShape, Tag("shape")] | Annotated[FitMode, Tag("mode")],
            Discriminator(ChosenByForm("mapping", "shape", "mode")),
        ]
        | None
    ) = None
    """How an image becomes that: `crop` cuts the middle out of it (what lies at the ends of a long
    image is never seen), `letterbox` keeps all of it and pads, `stretch` keeps all of it and distorts; left
    out: `letterbox` for detection and segmentation, `crop` for the others. `{shorter: 800, longer: 1333}`
    (detection) or `{crop: 512}` (segmentation), in place of `image_size`, lets each image keep its shape."""
    split: Split = Split()
    """Shares of train, val and test where folders or columns do not say it."""
    intensity: Intensity = FullRange()
    """How values wider than 8 bits become 0..255."""
    max_bad_fraction: Fraction = 0.01
    """More unreadable files than this share fails before training."""
    near_duplicates: Literal["auto", "error", "warning", "ignore"] = "auto"
    """What images that look alike in two splits are; `auto`: an error for grouped data, else a warning."""
    cache: Cache | None = Cache()
    """Decoded-image cache; `null` decodes in every epoch."""

    @model_validator(mode="after")
    def _links_are_on_a_disk(self) -> Self:
        if self.link_roots and "://" in self.root and not self.root.startswith(FILE_SCHEME):
            raise ValueError("`link_roots` goes with a folder: an object store has no links")
        return self


class ImageFolderData(_Data):
    """A folder per class; or train/val/test folders of class folders."""

    format: Literal["image_folder"]


class TableData(_Data):
    """A CSV or Parquet table with a row per image."""

    format: Literal["csv", "parquet"]
    file: BelowRoot
    """The table, below `root`."""
    columns: Columns = Columns()
    """Other names for the columns."""
    label_separator: Text = "|"
    """Separates several labels in one cell (multilabel only)."""


class _BoxData(_Data):
    boxes_outside: Literal["clip", "reject"] = "clip"
    """What happens to a box that leaves its image: cut it at the border, or report it as an error."""


class SplitFiles(Section):
    """One annotation file per split."""

    train: BelowRoot
    """Annotations of the training images."""
    val: BelowRoot
    """Annotations of the validation images."""
    test: BelowRoot
    """Annotations of the test images."""


class CocoData(_BoxData):
    """COCO JSON: boxes, polygons and RLE masks, crowd regions."""

    format: Literal["coco"]
    annotations: Annotated[
        Annotated[BelowRoot, Tag("file")] | Annotated[SplitFiles, Tag("files")],
        Discriminator(ChosenByForm("mapping", "files", "file")),
    ]
    """The JSON file below `root`, or one per split."""
    images: BelowRoot = "."
    """Folder of the images, below `root`."""


class VocData(_BoxData):
    """Pascal VOC: one XML per image."""

    format: Literal["voc"]
    annotations: BelowRoot = "Annotations"
    """Folder of the XML files, below `root`."""
    images: BelowRoot = "JPEGImages"
    """Folder of the images, below `root`."""
    skip_difficult: Flag = False
    """Leave out objects marked `difficult`."""
    one_based: Flag = False
    """Coordinates count from 1, as in the original VOC sets; most tools count from 0."""


class YoloData(_BoxData):
    """YOLO: a text file per image, class names in a YAML or text file."""

    format: Literal["yolo"]
    names: BelowRoot = "data.yaml"
    """File with the class names, below `root`."""
    images: BelowRoot = "images"
    """Folder of the images, below `root`; `labels` stands beside it."""
    shapes: Literal["boxes", "polygons", "keypoints"] | None = None
    """What follows the class in a label; left out: what the lines and `kpt_shape` of the names file tell."""


class MaskFolderData(_Data):
    """A mask image per image, of the same name."""

    format: Literal["mask_folder"]
    images: BelowRoot = "images"
    """Folder of the images, below `root`."""
    masks: BelowRoot = "masks"
    """Folder of the masks, below `root`."""
    encoding: Literal["index", "rgb"] = "index"
    """`index`: pixel value (or palette index) is the class; `rgb`: colour is the class."""
    colours: dict[ClassName, Colour] | None = None
    """RGB colour of each class, for `encoding: rgb`."""
    void_colours: tuple[Colour, ...] = ()
    """RGB colours of pixels that count neither in the loss nor in the metrics, for `encoding: rgb`."""

    @model_validator(mode="after")
    def _colours_belong_to_rgb(self) -> Self:
        if (self.encoding == "rgb") != (self.colours is not None):
            raise ValueError("`colours` goes with `encoding: rgb`, and is needed there")
        if self.void_colours and self.colours is None:
            raise ValueError(
                "`void_colours` goes with `encoding: rgb`; for index masks set task.ignore_index"
            )
        used = [*(self.colours or {}).values(), *self.void_colours]
        if len(set(used)) < len(used):
            raise ValueError("two entries of `colours` and `void_colours` have the same colour")
        return self


class DicomData(_Data):
    """DICOM files: a folder per class, or a table of paths."""

    format: Literal["dicom"]
    file: BelowRoot | None = None
    """CSV with a row per image, below `root`; left out: one folder per class."""
    columns: Columns = Columns()
    """Other names for the columns."""
    label_separator: Text = "|"
    """Separates several labels in one cell (multilabel only)."""
    channels: Annotated[StrictInt, Field(ge=1, le=64)] = 1
    """Channels that the model sees."""


Data = Annotated[
    ImageFolderData | TableData | CocoData | VocData | YoloData | MaskFolderData | DicomData,
    Field(discriminator="format"),
]
