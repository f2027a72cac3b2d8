"""`python accelerator.py WORDS…` runs `transferflow WORDS…` on a stand-in for an accelerator.

Its tensors say that they are on another device and compute on the CPU. As on a GPU, an operation on tensors
of two devices fails, and so does NumPy on a tensor that was not brought back. What it can't show: speed,
memory, and arithmetic of less than 32 bits.
"""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves, tree_map

NAME = "pretend"
CPU = torch.device("cpu")
aten = torch.ops.aten
MOVES = {aten._to_copy.default, aten.copy_.default}
INDEXING = {aten.index.Tensor, aten.index_put_.default, aten.index_put.default, aten._index_put_impl_.default}


class _Module(backend_registration._DummyBackendModule):
    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16]

    def is_available(self) -> bool:
        return True


class Remote(torch.Tensor):
    """A tensor on the stand-in, around one on the CPU."""

    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, inner: torch.Tensor) -> Remote:
        return torch.Tensor._make_wrapper_subclass(
            cls,
            inner.size(),
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=torch.device(NAME, 0),
        )

    def __init__(self, inner: torch.Tensor) -> None:
        self.inner = _inner(inner)

    def __repr__(self) -> str:
        return f"Remote({self.inner})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _compute(func, args, kwargs or {})

    def tolist(self) -> Any:
        return self.inner.tolist()


class Accelerator(TorchDispatchMode):
    """Tensors that are asked for on the stand-in come as `Remote`."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _compute(func, args, kwargs or {})


def _compute(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
    remote = [tensor for tensor in tensors if isinstance(tensor, Remote)]
    local = [tensor for tensor in tensors if not isinstance(tensor, Remote) and tensor.ndim > 0]
    if remote and local and func not in MOVES and not _may_mix(func, args):
        shapes = [(tuple(tensor.shape), str(tensor.device)) for tensor in tensors]
        raise RuntimeError(f"tensors of two devices in {func}: {shapes}")
    devices = [leaf for leaf in (*args, kwargs.get("device")) if isinstance(leaf, torch.device)]
    goes_remote = isinstance(args[0], Remote) if func in MOVES | INDEXING else bool(remote)
    if devices:
        goes_remote = devices[-1].type == NAME
    inner_args = tree_map(lambda leaf: CPU if isinstance(leaf, torch.device) else _inner(leaf), args)
    inner_kwargs = tree_map(_inner, kwargs) | ({"device": CPU} if kwargs.get("device") is not None else {})
    found = func(*inner_args, **inner_kwargs)
    if func is aten._to_copy.default and found is inner_args[0]:
        found = found.clone()
    known = {id(tensor.inner): tensor for tensor in remote} if _writes(func) else {}
    return tree_map(lambda leaf: known[id(leaf)] if id(leaf) in known else _wrapped(leaf, goes_remote), found)


def _may_mix(func: Any, args: Any) -> bool:
    """Indices may be on the CPU, as on a GPU; what is written through them may not."""
    return func in INDEXING and isinstance(args[0], Remote) and (len(args) < 3 or isinstance(args[2], Remote))


def _writes(func: Any) -> bool:
    return any(argument.alias_info and argument.alias_info.is_write for argument in func._schema.arguments)


def _inner(leaf: Any) -> Any:
    return leaf.inner if isinstance(leaf, Remote) else leaf


def _wrapped(leaf: Any, goes_remote: bool) -> Any:
    is_local = isinstance(leaf, torch.Tensor) and not isinstance(leaf, Remote)
    return Remote(leaf) if is_local and goes_remote else leaf


def install() -> None:
    """Register the device; once per process."""
    backend_registration._setup_privateuseone_for_python_backend(NAME, backend_module=_Module())
    fallthrough = torch.library.Library("_", "IMPL")
    fallthrough.fallback(torch.library.fallthrough_kernel, "AutocastPrivateUse1")
    kernels = torch.library.Library("aten", "IMPL")
    # Below Python, C++ makes tensors of its own, for `tensor[mask] = 1.0` for instance.
    kernels.impl("empty_strided", _empty_strided, "PrivateUse1")
    kernels.impl("_copy_from", _copy_from, "PrivateUse1")
    _KEPT.extend((fallthrough, kernels))


_KEPT: list[torch.library.Library] = []


def _empty_strided(size: Any, stride: Any, dtype: Any = None, **_: Any) -> Remote:
    with _disable_current_modes():
        return Remote(torch.empty_strided(size, stride, dtype=dtype))


def _copy_from(source: Any, target: Any, non_blocking: bool = False) -> Any:
    with _disable_current_modes():
        _inner(target).copy_(_inner(source))
    return target


def main(words: list[str]) -> int:
    """Run a command of transferflow with the stand-in as what `device: auto` finds."""
    install()
    from timm.utils import model_ema

    import transferflow.training.device as devices

    class _Torch:
        """The stand-in has no random numbers of its own."""

        def Generator(self, device: Any = None) -> torch.Generator:  # noqa: N802
            return torch.Generator()

        def __getattr__(self, name: str) -> Any:
            return getattr(torch, name)

    model_ema.torch = _Torch()
    torch.inference_mode = torch.no_grad  # the wrapper has no version counter in inference mode
    devices.pick_device = lambda setting: CPU if setting == "cpu" else torch.device(NAME, 0)
    from transferflow.cli.main import main as transferflow

    with Accelerator():
        return transferflow(words)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
