"""Where a model is cut, as plain data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch.utils._pytree import TreeSpec


@dataclass(frozen=True)
class Kept:
    """A tensor that what is behind the cut needs.

    Attributes:
        shape: Without the batch.
    """

    shape: tuple[int, ...]


@dataclass(frozen=True)
class Unused:
    """A tensor that nothing behind the cut needs.

    Attributes:
        shape: Without the batch.
    """

    shape: tuple[int, ...]


@dataclass(frozen=True)
class Constant:
    """Something else that a module returns, the same for every image of a size."""

    value: object


@dataclass(frozen=True)
class Played:
    """A call of a module in the prefix: behind the cut it returns what was recorded.

    Attributes:
        path: The module's path in the model.
        number: Which call of this module it is within a forward pass, from 0.
        values: What it returns, flat.
        form: How the values are nested.
    """

    path: str
    number: int
    values: tuple[Kept | Unused | Constant, ...]
    form: TreeSpec

    @property
    def is_kept(self) -> bool:
        """Whether anything of it is needed."""
        return any(isinstance(value, Kept) for value in self.values)


@dataclass(frozen=True)
class Fold:
    """A convolution and the batch norm behind it, which can compute as one.

    Attributes:
        conv: Path of the convolution in the model.
        norm: Path of the batch norm.
    """

    conv: str
    norm: str


@dataclass(frozen=True)
class Cut:
    """A model in two parts.

    Attributes:
        calls: Calls of the prefix, outermost modules only, in the order in which they end.
        operations: Floating-point operations of the prefix for one image.
        all_operations: Those of the whole forward pass; of a detector, of its backbone and neck.
        folds: What the prefix computes as one, see `folding`.
    """

    calls: tuple[Played, ...]
    operations: int
    all_operations: int
    folds: tuple[Fold, ...] = ()

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of the activations at the cut, without the batch."""
        return tuple(value.shape for call in self.calls for value in call.values if isinstance(value, Kept))

    @property
    def boundary(self) -> tuple[str, ...]:
        """Paths of the modules whose outputs cross the cut."""
        return tuple(dict.fromkeys(call.path for call in self.calls if call.is_kept))


@dataclass(frozen=True)
class Uncut:
    """A model that can't be cut.

    Attributes:
        reason: Why, in words that go into a sentence.
    """

    reason: str
