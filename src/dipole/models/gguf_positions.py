"""Positions that a GGUF file stretches, which transformers leaves out when it reads one.

A model that was made for longer texts turns its queries and keys more slowly: Llama 3.1 and later by a
factor for each frequency (`rope_freqs.weight`), others all alike (`rope.scaling`). Without that, every text
is read a little otherwise than the model was trained to. Source: llama.cpp, `ggml_rope_ext`: the angle is
position times frequency by factor.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dipole.models.gguf_header import Header
from dipole.types import DipoleWarning

_FACTORS = "rope_freqs.weight"
_BUFFERS = ("inv_freq", "full_attention_inv_freq")  # windowed layers turn as they always did
_READ = ("gpt-oss",)  # transformers reads these itself
_FLOAT32 = 0


def tell_unread(header: Header, model: str) -> None:
    """Warn where a file stretches positions in a way that neither transformers reads nor we mend."""
    kind = header.of_architecture("rope.scaling.type")
    if any(tensor.name.startswith("rope_factors_") for tensor in header.tensors):
        kind = "long and short factors"
    if header.architecture in _READ or kind in (None, "none", "linear"):
        return
    warnings.warn(
        f"{model} stretches its positions ({kind}), which is left out of what is read from a GGUF file, so "
        "it reads texts a little otherwise than it was made to; its folder in Hugging Face format has all.",
        DipoleWarning,
        stacklevel=3,
    )


def stretch(net: Any, header: Header, path: Path) -> None:
    """Divide the model's frequencies by what the file says, where transformers has left them as they were."""
    by = _divisor(header, path)
    if by is None:
        return
    for module in net.modules():
        kinds = getattr(module, "rope_type", None)
        for name in _BUFFERS:
            kind = kinds.get("full_attention") if isinstance(kinds, dict) else kinds
            frequencies = getattr(module, name, None)
            if (
                kind == "default"
                and isinstance(frequencies, Tensor)
                and by.numel() in (1, frequencies.numel())
            ):
                frequencies.div_(by.to(frequencies))
                getattr(module, name.replace("inv_freq", "original_inv_freq")).copy_(frequencies)


def _divisor(header: Header, path: Path) -> Tensor | None:
    """What each frequency is divided by, `(frequencies,)` or `(1,)`; None where nothing is stretched."""
    for tensor in header.tensors:
        if tensor.name == _FACTORS and tensor.kind == _FLOAT32:
            return torch.from_numpy(np.fromfile(path, "<f4", tensor.values, offset=tensor.start).copy())
    factor = header.of_architecture("rope.scaling.factor")
    if header.of_architecture("rope.scaling.type") == "linear" and isinstance(factor, float) and factor > 0:
        return torch.tensor([factor])
    return None
