"""What a backbone answers to an image size that it can't take."""

from __future__ import annotations

from transferflow.errors import PlanError


def patch_error(name: str, image_size: int, patch: int) -> PlanError:
    """Name the nearest sizes that are whole patches."""
    lower = max(image_size // patch, 1) * patch
    return PlanError(
        f"{name} cuts images into patches of {patch} pixels",
        where="data.image_size",
        found=str(image_size),
        allowed=f"a multiple of {patch}, such as {lower} or {lower + patch}",
    )
