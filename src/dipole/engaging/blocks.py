"""Find the decoder blocks of any causal language model from the model itself."""

from __future__ import annotations

from typing import Any

from torch import nn

from dipole.types import UserError


def language_part(model: Any) -> nn.Module:
    """The part of a model that reads and writes text: all of it, or what stands beside a vision tower."""
    whole: nn.Module = model
    found = model.get_decoder() if hasattr(model, "get_decoder") else None
    if not isinstance(found, nn.Module):
        return whole
    # What some models call their decoder is the output embedding (ModernBERT).
    embedding = model.get_input_embeddings()
    return found if any(module is embedding for module in found.modules()) else whole


def decoder_blocks(model: nn.Module) -> nn.ModuleList:
    """The list of decoder blocks whose output is the residual stream.

    Found by structure, not by a list of names: among the `nn.ModuleList`s with as many entries as the
    config has layers, the one with the most parameters; ties go to the outermost. A list of experts
    lies inside a block, so it always has fewer. A vision tower may have as many blocks, and is not looked at;
    a tower inside the embeddings has a config of another class than the text has, and comes last.

    Raises:
        UserError: No such list exists.
    """
    config = getattr(model, "config", None)
    text_config = config.get_text_config() if config is not None else None
    wanted = getattr(text_config, "num_hidden_layers", None)
    configs = {name: module.config for name, module in model.named_modules() if hasattr(module, "config")}
    names = {id(module): name for name, module in model.named_modules()}

    def of_text(module: nn.Module) -> bool:
        """Whether the innermost model around a list has a config of the text's class."""
        name = names[id(module)]
        while name and name not in configs:
            name = name.rpartition(".")[0]
        return isinstance(configs.get(name), type(text_config))

    candidates = [
        (of_text(module), sum(p.numel() for p in module.parameters()), -name.count("."), name, module)
        for name, module in language_part(model).named_modules()
        if isinstance(module, nn.ModuleList) and len(module) > 0 and (wanted is None or len(module) == wanted)
    ]
    if not candidates:
        raise UserError(
            f"No list of {wanted or 'some'} decoder blocks was found in {type(model).__name__}. "
            "Controls of activations need a decoder-only transformer whose blocks sit in one nn.ModuleList."
        )
    return max(candidates, key=lambda c: c[:3])[4]
