"""A short name for a set of weights, so that an artefact knows which model it was made for."""

from __future__ import annotations

import hashlib

import torch
from torch import nn

_SAMPLED = 64  # values per tensor: a 70B model is fingerprinted without reading all of it


def fingerprint(model: nn.Module) -> str:
    """Sixteen hexadecimal digits that identify the weights of a model.

    Hashes the name and shape of each parameter and 64 evenly spaced values of it, rounded to bfloat16,
    so that the same checkpoint has one fingerprint on any device and in float32, float16 or bfloat16
    where it was stored in the narrower type. Quantised weights give another fingerprint: they are
    another model. Buffers are left out: they are derived from the config.
    """
    digest = hashlib.sha256()
    for name, parameter in sorted(model.named_parameters(), key=lambda item: item[0]):
        digest.update(f"{name}{tuple(parameter.shape)}".encode())
        if parameter.device.type == "meta":
            continue  # kept on disk by accelerate: only its name and shape are at hand
        flat = parameter.detach().reshape(-1)
        picks = _evenly_spaced(flat.numel()).to(flat.device)
        values = flat[picks].to("cpu", torch.bfloat16).view(torch.int16)
        digest.update(values.numpy().tobytes())
    return digest.hexdigest()[:16]


def _evenly_spaced(n: int) -> torch.Tensor:
    """At most 64 indices of `range(n)`, the first and the last among them, in exact integer arithmetic."""
    count = min(_SAMPLED, n)
    return torch.arange(count) * (n - 1) // max(count - 1, 1)
