"""Tensors that lie where a file would put them, and not where torch would."""

from __future__ import annotations

import torch
from torch import Tensor

from dipole.tensors import ALIGNMENT


def misaligned(tensor: Tensor, offset: int = 8) -> Tensor:
    """The same numbers, `offset` bytes behind a multiple of 64, in the middle of something larger."""
    size = tensor.numel() * tensor.element_size()
    room = torch.zeros(size + 2 * ALIGNMENT, dtype=torch.uint8)
    first = -room.data_ptr() % ALIGNMENT + offset
    made = room[first : first + size].view(tensor.dtype).view(tensor.shape)
    made.copy_(tensor)
    assert made.data_ptr() % ALIGNMENT == offset or not size
    return made
