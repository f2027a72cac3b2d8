"""Every limit on what files and specs may ask of this machine; docs/limits.md is the same table in words.

Work and memory grow with the bytes of the input. Where a small input can ask for more, a limit stands here.
"""

from __future__ import annotations

# Messages
MAX_MESSAGE = 4_000
"""Characters of each part of a message."""
MAX_LINE = 1_000
"""Characters of a text that stands in one line: a log line's value, a finding."""
MAX_PROBLEMS = 100
"""Problems that one error carries; that there are more is said."""
MAX_SUGGESTED = 500
"""Names among which the one that was meant is looked for, and the characters of a name that is."""

# Specs
MAX_SPEC_BYTES = 1_000_000
"""Bytes of a spec, or of a base that it extends."""
MAX_SPEC_VALUES = 100_000
"""Values of a spec once aliases and merges are written out."""
MAX_SPEC_DEPTH = 32
"""Levels of a spec, and keys in the path of a `--set`."""
MAX_BASES = 10
"""Files that extend each other in a row."""
MAX_OVERRIDES = 1_000
"""`--set` options."""
MAX_DIGITS = 300
"""Digits of a number."""
MAX_NAMES = 300
"""Layer groups, phases, transforms or prompts that a spec may list; of classes it may be more."""
MAX_SLICINGS = 20
"""Ways in which a spec may slice the test images."""

# Images
MAX_PIXELS = 178_956_970
"""Pixels of an image or mask; more is taken for a decompression bomb. The number is Pillow's own."""
MAX_IMAGE_BYTES = 1 << 30
"""Bytes of the decoded values of one image, all bands and pages."""
MAX_DECODING_BYTES = 2 << 30
"""Bytes of the decoded values of all images that the threads of a process decode at once; others wait."""
MAX_ASPECT = 16
"""Longer over shorter side up to which an image keeps its shape where `data.fit` names the shorter one alone:
a strip of one pixel would grow without bound."""
MAX_JPEG_WORK = 10_000_000_000
"""Pixels times scans of a JPEG: a progressive file of 1 MB can ask for thousands of passes."""
MAX_TIFF_PAGES = 1_000
"""Image directories of a TIFF."""

# Data files
MAX_CLASSES = 100_000
"""Classes of a data set."""
MAX_LABEL = 500
"""Characters of a class name."""
MAX_CELL = 131_072
"""Characters of a cell of a table."""
MAX_COLUMNS = 10_000
"""Columns of a table."""
MAX_SLICES = 100
"""Slices of the test images by one column."""
MAX_BAD_ENTRIES = 100_000
"""Rows or entries of one annotation file that are left out, before the file is taken for another kind."""
MAX_TEXT_BYTES = 200_000_000
"""Bytes of a list of images."""
MAX_LABEL_FILE_BYTES = 50_000_000
"""Bytes of the labels of one image (YOLO, Pascal VOC)."""
MAX_NAMES_BYTES = 1_000_000
"""Bytes of a YOLO file of class names."""
MAX_XML_DEPTH = 50
"""Levels of an XML file."""
MAX_XML_ELEMENTS = 500_000
"""Elements of an XML file."""
MAX_OUTLINE = 2_000_000
"""Pixels along the outlines of one COCO polygon."""
MAX_DRAWN = 10_000_000_000
"""Pixels that the objects of one COCO image cover, one on top of the other."""

# Serving
MAX_REQUEST_IMAGES = 64
"""Images of one request to `transferflow serve`."""

# Weights and packages
MAX_LOCK_BYTES = 10_000_000
"""Bytes of a lock file of weights."""
MAX_WEIGHT_DEPTH = 5
"""Dicts in each other around the tensors of a weights file."""
MAX_PACKAGED_BYTES = 256_000_000
"""Bytes of one file of a demo set's package, unpacked."""
