"""PPLM for one row: no batch, no padding, no mask, plain lists of keys and values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache


def _cache(keys: Sequence[Tensor], values: Sequence[Tensor]) -> DynamicCache:
    cache = DynamicCache()
    for layer, (k, v) in enumerate(zip(keys, values, strict=True)):
        cache.update(k, v, layer)
    return cache


def _states(cache: Any) -> tuple[list[Tensor], list[Tensor]]:
    return [layer.keys for layer in cache.layers], [layer.values for layer in cache.layers]


def _hidden(model: Any, ids: Sequence[int]) -> Tensor:
    return model.base_model(input_ids=torch.tensor([list(ids)]), use_cache=False).last_hidden_state[0]


def _pooled_after(
    model: Any, prompt: int, ids: Sequence[int], perturbed: Tensor, logits: Tensor, horizon: int
) -> Tensor:
    """Mean of the states from the last of `prompt` tokens on, and of the steps ahead.

    The newest is the perturbed one only where there are no steps ahead.
    """
    table = model.get_input_embeddings()(torch.arange(model.get_input_embeddings().weight.shape[0]))
    embeds = model.get_input_embeddings()(torch.tensor([list(ids)]))
    states = [*_hidden(model, ids)[prompt - 1 :]]
    if not horizon:
        states[-1] = perturbed
    for _ in range(horizon):
        expected = logits.softmax(-1) @ table
        embeds = torch.cat([embeds, expected[None, None]], dim=1)
        found = model.base_model(inputs_embeds=embeds, use_cache=False).last_hidden_state[0, -1]
        states.append(found)
        logits = model(inputs_embeds=embeds, use_cache=False).logits[0, -1]
    return torch.stack(states).mean(0)


def logprobs(
    model: Any,
    prompt: Sequence[int],
    response: Sequence[int],
    bag: Sequence[int] = (),
    probe: tuple[Tensor, float] | None = None,
    size: float = 0.5,
    steps: int = 2,
    gamma: float = 1.5,
    gm: float = 0.9,
    kl_scale: float = 0.01,
    window: int = 0,
    horizon: int = 1,
    plausible: float = 0.0,
) -> Tensor:
    """Fused log-probabilities `(len(response), vocab)`; a negative `size` is for the other side."""
    away, size = size < 0, abs(size)
    with torch.no_grad():
        before = model(input_ids=torch.tensor([list(prompt[:-1])]), past_key_values=DynamicCache())
    keys, values = _states(before.past_key_values)
    largest = [0.0] * len(keys)
    ids, rows = list(prompt), []
    for token in response:
        with torch.no_grad():
            plain = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].log_softmax(-1)
        last = torch.tensor([ids[-1:]])
        could_stand = not bag or float(plain[list(bag)].exp().sum()) >= plausible * float(plain.exp().max())
        for _ in range(steps if could_stand else 0):
            with torch.enable_grad():
                ks = [k.clone().requires_grad_() for k in keys]
                vs = [v.clone().requires_grad_() for v in values]
                caught: list[Tensor] = []
                head = model.get_output_embeddings()
                handle = head.register_forward_pre_hook(lambda _, args, to=caught: to.append(args[0]))
                logits = model(input_ids=last, past_key_values=_cache(ks, vs)).logits[0, -1]
                handle.remove()
                p = logits.softmax(-1)
                loss = kl_scale * (p * (p.log() - plain)).sum()
                if bag:
                    mass = sum(p[w] for w in bag)
                    if away and not plausible:
                        loss = loss + mass.log()
                    else:
                        loss = loss - (1 - mass if away else mass).log()
                if probe is not None:
                    pooled = _pooled_after(model, len(prompt), ids, caught[0][0, -1], logits, horizon)
                    likely = torch.sigmoid(pooled @ probe[0] + probe[1])
                    loss = loss - (1 - likely if away else likely).log()
                grads = torch.autograd.grad(loss, [*ks, *vs])
            for layer, (gk, gv) in enumerate(zip(grads[: len(ks)], grads[len(ks) :], strict=True)):
                first = gk.shape[2] - window if window else 0
                gk, gv = gk[:, :, max(first, 0) :], gv[:, :, max(first, 0) :]
                norm = float(torch.cat([gk.flatten(), gv.flatten()]).norm())
                largest[layer] = max(largest[layer], norm)
                keys[layer] = keys[layer].clone()
                values[layer] = values[layer].clone()
                keys[layer][:, :, max(first, 0) :] -= size * gk / largest[layer] ** gamma
                values[layer][:, :, max(first, 0) :] -= size * gv / largest[layer] ** gamma
        with torch.no_grad():
            out = model(input_ids=last, past_key_values=_cache(keys, values))
        keys, values = _states(out.past_key_values)
        moved = out.logits[0, -1].log_softmax(-1)
        rows.append((gm * moved + (1 - gm) * plain).log_softmax(-1))
        ids.append(token)
    return torch.stack(rows)
