"""Which way a layer must be pushed for a model to prefer one text to another: the gradient, read off."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from dipole.engaging.blocks import decoder_blocks
from dipole.engaging.hidden import find_input, state_of, with_state

if TYPE_CHECKING:
    from dipole.protocols import LM
    from dipole.reading.told import Told


def slopes(lm: LM, told: Told, layers: Sequence[int]) -> Tensor:
    """Gradient of the mean leaning in a vector that is added to a layer's states at every position.

    The leaning of a prompt is how much likelier what the claim's side says is than what the other says. At a
    vector of zero this is the direction of the first step of preference optimisation of a steering vector
    (Cao 2024, eq. 3): there its weight is one half for every pair.

    Args:
        lm: The LM, whose interventions inside the model are engaged.
        told: Prompts, and what either side says behind each.
        layers: Blocks after which something is added.

    Raises:
        UserError: A block returns no hidden states.

    Returns:
        `(layers, width)` float64, nats per unit of the residual stream.
    """
    total = torch.zeros(len(layers), lm.resident.width, dtype=torch.float64)
    for sign, side in ((1.0, told.claim), (-1.0, told.against)):
        for prompt, sample in zip(told.prompts, side, strict=True):
            total += sign * _slopes(lm, lm.prompt_ids(prompt), list(sample.token_ids), layers)
    return total / len(told.prompts)


def _slopes(lm: LM, prefix: list[int], continuation: list[int], layers: Sequence[int]) -> Tensor:
    """The same of the log-likelihood of one continuation."""
    ids = torch.tensor([[*prefix, *continuation]], device=lm.resident.device)
    with lm.engaged() as model, torch.enable_grad(), _kept(model, layers) as states:
        logits = model(input_ids=ids, use_cache=False).logits[0, len(prefix) - 1 : -1]
        chosen = logits.float().log_softmax(-1).gather(1, ids[0, len(prefix) :, None])
        found = torch.autograd.grad(chosen.sum(), [states[layer] for layer in layers])
    # What is added at every position moves the loss by the sum of what it does at each.
    return torch.stack([each[0].double().sum(0).cpu() for each in found])


@contextmanager
def _kept(model: Any, layers: Sequence[int]) -> Iterator[dict[int, Tensor]]:
    """The states behind each of some blocks while the model runs; below the first no gradient is kept."""
    states: dict[int, Tensor] = {}
    blocks, first = list(decoder_blocks(model)), min(layers)

    def keeping(layer: int) -> Any:
        def hook(_module: Any, args: Any, kwargs: Any, output: Any) -> Any:
            was = find_input(args, kwargs)
            state = state_of(output, was)
            states[layer] = state.detach().requires_grad_() if layer == first else state
            return with_state(output, states[layer], was) if layer == first else None

        return hook

    handles = [blocks[i].register_forward_hook(keeping(i), with_kwargs=True) for i in dict.fromkeys(layers)]
    try:
        yield states
    finally:
        for handle in handles:
            handle.remove()
