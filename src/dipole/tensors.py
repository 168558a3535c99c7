"""Tensors from safetensors files: checked before they are read, owned, and aligned as torch aligns its own.

A tensor that is read lies where the header of its file happens to end, which need not be at a multiple of 64
bytes as it was when it was saved. BLAS takes other kernels for such a tensor, whose sums differ in their last
bits, so the same numbers would say something else after they were saved and loaded. It is also a window into
the file, and changes with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from dipole.files.reader import Unreadable, require_plain
from dipole.types import UserError

ALIGNMENT = 64
MOST_BYTES = 1 << 36
_KINDS: dict[str, tuple[str, ...]] = {
    "float": ("F64", "F32", "F16", "BF16"),
    "float64": ("F64",),
    "whole": ("I64",),
    "byte": ("U8",),
    "any": ("F64", "F32", "F16", "BF16", "I64", "I32", "U8", "BOOL"),
}


@dataclass(frozen=True)
class Wanted:
    """What a tensor must be.

    Attributes:
        kind: `float` of 16 to 64 bits, `float64`, both finite; `whole` numbers from 0 on in int64; `byte`; or
            `any` of these and some more.
        shape: Each size as a number, or as a name; one name is one size throughout the file. None for any.
        optional: Whether it may be missing.
        finite: Whether its numbers must be finite.
    """

    kind: Literal["float", "float64", "whole", "byte", "any"] = "float"
    shape: tuple[int | str, ...] | None = None
    optional: bool = False
    finite: bool = True


class Stored(NamedTuple):
    """What a safetensors file holds: tensors by name, and the texts of its header."""

    tensors: dict[str, Tensor]
    metadata: dict[str, str]


def read_tensors(
    path: Path, wanted: Mapping[str, Wanted], remedy: str, others: Wanted | None = None
) -> dict[str, Tensor]:
    """The tensors of a file, contiguous on the CPU, each at a multiple of 64 bytes.

    Args:
        path: The file.
        wanted: Name to what it must be.
        remedy: What to do if it can't be used, such as `fit the control again`.
        others: What tensors of other names must be; they are refused if it is None.

    Raises:
        UserError: The file is missing or corrupt, or a tensor is missing, unknown, of another type or shape,
            or not finite.
    """
    return read_stored(path, wanted, remedy, others).tensors


def read_stored(
    path: Path, wanted: Mapping[str, Wanted], remedy: str, others: Wanted | None = None
) -> Stored:
    """The same with the texts of the header."""
    from safetensors import SafetensorError, safe_open

    try:
        require_plain(path, MOST_BYTES)
        with safe_open(str(path), framework="pt") as file:
            names = sorted(file.keys())
            _require_declared(file, names, wanted, others)
            # A copy even of what lies well: it would change with the file.
            tensors = {name: _raw(file, name).clone(memory_format=torch.contiguous_format) for name in names}
            found = Stored(tensors, dict(file.metadata() or {}))
        for name, tensor in tensors.items():
            _require_sound(name, tensor, wanted.get(name, others or Wanted("any")))
    except (SafetensorError, OSError, ValueError, OverflowError, RuntimeError, MemoryError) as error:
        why = " ".join(str(getattr(error, "strerror", None) or error).split())[:200]
        raise UserError(
            f"{path} can't be read ({why}): it is missing, truncated, corrupt or of something else; {remedy}."
        ) from error
    return found


def aligned(tensor: Tensor) -> Tensor:
    """The tensor where it is whole, contiguous and at a multiple of 64 bytes, else a copy that is."""
    whole = tensor.detach().contiguous()
    return whole.clone() if whole.data_ptr() % ALIGNMENT or _is_window(whole) else whole


def align_parameters(model: nn.Module) -> None:
    """Bring what a model holds on the CPU to alignment, one tensor at a time; shared tensors stay shared."""
    made: dict[tuple[int, torch.Size, torch.dtype], Tensor] = {}
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.device.type == "cpu" and tensor.is_floating_point() and tensor.is_contiguous():
            place = (tensor.data_ptr(), tensor.shape, tensor.dtype)
            if place not in made:
                made[place] = aligned(tensor.data)
            tensor.data = made[place]


def _is_window(tensor: Tensor) -> bool:
    """Whether the tensor is a part of something larger, such as a mapped file."""
    return tensor.untyped_storage().nbytes() > tensor.numel() * tensor.element_size()


def _raw(file: Any, name: str) -> Tensor:
    """A tensor as the file gives it; the tests have it lie anywhere."""
    tensor: Tensor = file.get_tensor(name)
    return tensor


def _require_declared(
    file: Any, names: list[str], wanted: Mapping[str, Wanted], others: Wanted | None
) -> None:
    """Compare the header with what is wanted, before any number is read."""
    there = set(names)
    missing = [name for name, field in wanted.items() if name not in there and not field.optional]
    if missing:
        raise Unreadable(f"it has no tensor {missing[0]!r}")
    sizes: dict[str, int] = {}
    for name in names:
        field = wanted.get(name, others)
        if field is None:
            raise Unreadable(f"it has a tensor {name[:60]!r} that is not known; wanted {', '.join(wanted)}")
        part = file.get_slice(name)
        kind, shape = str(part.get_dtype()), tuple(part.get_shape())
        if kind not in _KINDS[field.kind]:
            known = " or ".join(_KINDS[field.kind])
            raise Unreadable(f"{name[:60]} is of type {kind}, and {known} is wanted")
        if field.shape is not None and not _fits(shape, field.shape, sizes):
            want = tuple(sizes.get(size, size) if isinstance(size, str) else size for size in field.shape)
            raise Unreadable(f"{name[:60]} has shape {shape}, and {want} is wanted")


def _fits(shape: tuple[int, ...], wanted: tuple[int | str, ...], sizes: dict[str, int]) -> bool:
    if len(shape) != len(wanted):
        return False
    return all(
        have == (sizes.setdefault(size, have) if isinstance(size, str) else size)
        for have, size in zip(shape, wanted, strict=True)
    )


def _require_sound(name: str, tensor: Tensor, field: Wanted) -> None:
    if field.finite and tensor.is_floating_point() and not bool(tensor.isfinite().all()):
        raise Unreadable(f"{name[:60]} has values that are not finite")
    if field.kind == "whole" and tensor.numel() and int(tensor.min()) < 0:
        raise Unreadable(f"{name[:60]} has values below 0")
