from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError

from transferflow.spec.sections.size import ImageSize, as_given, show_size, size_of

GIVEN = TypeAdapter(ImageSize)


@pytest.mark.parametrize(
    ("written", "size", "given", "shown"),
    [
        (224, (224, 224), 224, "224"),
        ([224, 224], (224, 224), 224, "224"),
        ([384, 640], (384, 640), [384, 640], "384 x 640 (height x width)"),
    ],
)
def test_a_size_is_said_one_way(written: object, size: object, given: object, shown: str) -> None:
    read = GIVEN.validate_python(written)
    assert size_of(read) == size
    assert as_given(size_of(read)) == given
    assert show_size(size_of(read)) == shown


@pytest.mark.parametrize("written", [15, 4097, 224.0, "224", [224], [224, 8], [64, 64, 3], True])
def test_other_sizes_are_refused(written: object) -> None:
    with pytest.raises(ValidationError):
        GIVEN.validate_python(written)
