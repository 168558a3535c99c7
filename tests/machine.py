"""What the processor that the tests run on can do."""

from __future__ import annotations

import functools

import pytest
import torch


@functools.cache
def _attends_in_bfloat16() -> bool:
    part = torch.zeros(1, 2, 64, 32, dtype=torch.bfloat16)
    try:
        torch.nn.functional.scaled_dot_product_attention(part, part, part, is_causal=True)
    except RuntimeError:
        return False
    return True


# PyTorch 2.13 raises there where ATEN_CPU_CAPABILITY names less than the processor has.
needs_bfloat16 = pytest.mark.skipif(
    not _attends_in_bfloat16(), reason="PyTorch can't attend in bfloat16 with these kernels"
)
