"""Find the decoder blocks of any causal language model from the model itself."""

from __future__ import annotations

from typing import Any

from torch import nn

from dipole.types import UserError


def language_part(model: Any) -> nn.Module:
    """The part of a model that reads and writes text: all of it, or what stands beside a vision tower."""
    found = model.get_decoder() if hasattr(model, "get_decoder") else None
    return found if isinstance(found, nn.Module) else model


def decoder_blocks(model: nn.Module) -> nn.ModuleList:
    """The list of decoder blocks whose output is the residual stream.

    Found by structure, not by a list of names: among the `nn.ModuleList`s with as many entries as the
    config has layers, the one with the most parameters; ties go to the outermost. A list of experts
    lies inside a block, so it always has fewer. A vision tower may have as many blocks, and is not looked at.

    Raises:
        UserError: No such list exists.
    """
    config = getattr(model, "config", None)
    text_config = config.get_text_config() if config is not None else None
    wanted = getattr(text_config, "num_hidden_layers", None)
    candidates = [
        (sum(p.numel() for p in module.parameters()), -name.count("."), name, module)
        for name, module in language_part(model).named_modules()
        if isinstance(module, nn.ModuleList) and len(module) > 0 and (wanted is None or len(module) == wanted)
    ]
    if not candidates:
        raise UserError(
            f"No list of {wanted or 'some'} decoder blocks was found in {type(model).__name__}. "
            "Controls of activations need a decoder-only transformer whose blocks sit in one nn.ModuleList."
        )
    return max(candidates, key=lambda c: c[:2])[3]
