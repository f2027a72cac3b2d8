"""Names of data files: what they are called, and which of them are no data."""

from __future__ import annotations

IMAGE_FORMATS = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".jfif": "JPEG",
    ".png": "PNG",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".bmp": "BMP",
    ".gif": "GIF",
    ".avif": "AVIF",
    ".heic": "HEIF",
    ".heif": "HEIF",
}
"""What files are called, and what Pillow calls what they should hold."""
IMAGE_SUFFIXES = frozenset(IMAGE_FORMATS)
DESCRIPTION = "dataset.json"
"""What `datasets fetch` says, at the root, of the set that it wrote; no part of the data."""
_LEFT_BEHIND = frozenset(
    {
        *("@eadir", "@tmp", "@recycle", "@recently-snapshot", "#recycle", "#snapshot"),
        *("network trash folder", "$recycle.bin", "_vti_cnf"),
        *("thumbs.db", "ehthumbs.db", "desktop.ini", "picasa.ini"),
        *("system volume information", "lost+found", "__macosx", ".ds_store", ".appledouble", ".trashes"),
        *(".thumbnails", ".picasaoriginals", ".fseventsd", ".spotlight-v100", ".temporaryitems"),
    }
)
"""What systems and file servers leave (in small letters): thumbnails, wastebaskets, notes on files."""


def is_left_behind(name: str) -> bool:
    """Whether a system or a file server left a file or folder of this name, such as `@eaDir` or `._a.jpg`."""
    return name.startswith("._") or name.lower() in _LEFT_BEHIND


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is no part of the data."""
    return name.startswith(".") or is_left_behind(name)


def split_mask(mask: str) -> tuple[str, str | None]:
    """File of a record's mask, and the image's id where the file is a COCO JSON."""
    file, _, image_id = mask.rpartition("#")
    return (file, image_id) if file.lower().endswith(".json") else (mask, None)


def is_unicode(text: str) -> bool:
    """Whether the text can be written as UTF-8 (file names on Linux need not be)."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
