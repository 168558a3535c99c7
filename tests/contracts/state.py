"""Everything about a resident model that nobody may change."""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from torch import nn


def state(model: nn.Module) -> dict[str, Any]:
    """Parameters and buffers (by hash and by place), modules, hooks, modes, flags, attributes, configs."""
    tensors = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        tensors.update(name.encode())
        tensors.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy())  # no copy of the bytes
    config: Any = model.config
    generation: Any = model.generation_config
    return {
        "tensors": tensors.hexdigest(),
        "places": [
            (name, p.data_ptr(), p.requires_grad, p.grad is None) for name, p in model.named_parameters()
        ],
        "modules": [(name, id(m), type(m), m.training) for name, m in model.named_modules()],
        "hooks": [
            (name, attribute, len(value))
            for name, module in model.named_modules()
            for attribute, value in vars(module).items()
            if attribute.endswith("_hooks") and value
        ],
        "attributes": sorted(vars(model)),
        "methods": [name for name in ("forward", "generate") if name in vars(model)],
        "config": config.to_dict(),
        "generation_config": (id(generation), generation.to_dict()),
    }
