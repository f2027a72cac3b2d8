"""What a backbone answers to an image size that it can't take."""

from __future__ import annotations

from transferflow.errors import PlanError
from transferflow.spec.sections.size import Size, show_size


def patch_error(name: str, image_size: Size, patch: int) -> PlanError:
    """Name the nearest sides that are whole patches."""
    wrong = next(side for side in image_size if side % patch)
    lower = max(wrong // patch, 1) * patch
    return PlanError(
        f"{name} cuts images into patches of {patch} pixels",
        where="data.image_size",
        found=show_size(image_size),
        allowed=f"a multiple of {patch}, such as {lower} or {lower + patch}",
    )
