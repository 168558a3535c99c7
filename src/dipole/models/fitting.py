"""Whether a model fits in memory, told before its weights are read.

Only what is sure is refused: weights alone that need more than there is, swap and all. What a forward pass
needs beyond them depends on the text.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import psutil
import torch

from dipole.models.gguf_header import Header
from dipole.resident import UNSUPPORTED
from dipole.types import UserError

_CGROUP = Path("/sys/fs/cgroup")
_FEWEST_BITS = 8  # of a weight in safetensors that is not quantised
_UNIT = 1e9
_UNKNOWN = (*UNSUPPORTED, ArithmeticError, OSError)


def refuse_too_large(model: str, config: Any, dtype: Any, device: str, stored: int | None) -> None:
    """Refuse a model whose weights alone need more memory than there is.

    Args:
        model: How errors call it.
        config: Its config of transformers.
        dtype: What it is loaded in; `auto` for what its config says.
        device: Where it will lie; nothing is refused where it is spread.
        stored: Bytes of its weights on disk, where known, which save the counting for one that surely fits.

    Raises:
        UserError: It can't fit.
    """
    free = free_bytes(device)
    if free is None or getattr(config, "quantization_config", None) is not None:
        return
    each = _bytes_each(dtype, config)
    if stored is not None and stored * 8 // _FEWEST_BITS * each <= free:
        return
    values = count_values(config)
    if values is None or values * each <= free:
        return
    raise UserError(_too_large(model, values, each, free, device))


def free_bytes(device: str) -> int | None:
    """Bytes that weights may take on a device; None where that is not known."""
    if device == "cpu":
        memory = int(psutil.virtual_memory().available + psutil.swap_memory().free)
        bound = _bound(_CGROUP)
        return memory if bound is None else min(memory, bound)
    if device.startswith("cuda"):
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + kept
    return None


def count_values(config: Any) -> int | None:
    """How many numbers the weights of a model are, tied ones counted once; None where it can't be told."""
    from transformers import AutoModelForCausalLM

    build: Any = AutoModelForCausalLM.from_config  # it has no types
    try:
        with torch.device("meta"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            net: Any = build(config)
        return sum(int(parameter.numel()) for parameter in net.parameters())
    except _UNKNOWN:  # code of a repository, or a config that says too little: whoever loads it says so
        return None


def bytes_in(folder: Path) -> int | None:
    """Bytes of the safetensors in a folder; None where there are none."""
    sizes = [file.stat().st_size for file in folder.glob("*.safetensors")]
    return sum(sizes) or None


def bytes_as_8_bits(header: Header) -> int:
    """What the tensors of a GGUF file would take at a byte a number."""
    return sum(tensor.values for tensor in header.tensors)


def _bytes_each(dtype: Any, config: Any) -> int:
    kind = getattr(torch, dtype) if isinstance(dtype, str) and dtype != "auto" else dtype
    if kind == "auto":
        kind = getattr(config.get_text_config(), "dtype", None) or torch.bfloat16  # the narrowest there is
    return int(kind.itemsize)


def _bound(group: Path) -> int | None:
    """Bytes that the container of this process may still take, caches of files left out."""
    try:
        most = int((group / "memory.max").read_text())
        held = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        return max(most - int(held["anon"]), 0)
    except (OSError, ValueError, KeyError):
        return None


def _too_large(model: str, values: int, each: int, free: int, device: str) -> str:
    ways = ["take a smaller model"]
    if each > 2:
        half = "" if values * 2 <= free else ", which needs half and is still too much"
        ways.insert(0, f"load it in 16 bits (--dtype bfloat16{half})")
    if device != "cpu":
        ways.append("share it among the devices that there are (--device spread)")
    return (
        f"{model} needs {values * each / _UNIT:.1f} GB for its {values / _UNIT:.2f} billion weights at "
        f"{each} bytes each, and {device} has {free / _UNIT:.1f} GB to give; {', or '.join(ways)}."
    )
