"""Likelihood of a few continuations after many prefixes, the prefixes' computation shared among them."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dipole.protocols import LM
from dipole.recognizers._routes import Reading, Route, cached, packed, plain, unpadded
from dipole.recognizers._tree import build_tree
from dipole.resident import UNSUPPORTED, Resident
from dipole.types import UserError

_MASK_CELLS = 1 << 24  # entries of one attention mask: long rows go in smaller batches
_WIDEST = 512  # attention grows with the square of the width
_CHECKED: tuple[Route, ...] = (packed, cached, plain)

# Nats a token, mean over the check: what rounding may do. A wrong mask or position does far more.
_TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-3, torch.float16: 2e-2, torch.bfloat16: 1e-1}

_verdicts: weakref.WeakKeyDictionary[Resident, dict[tuple[str, ...], Route]] = weakref.WeakKeyDictionary()


class Likelihoods(NamedTuple):
    """What `continuation_likelihoods` returns.

    Attributes:
        nats_per_token: `(prefixes, continuations)` float64 on the CPU: mean log-likelihood of the tokens of
            each continuation after each prefix; not finite where the model's logits are not.
        text_logprobs: For each prefix the float32 log-probabilities of its tokens from the wanted index on.
        cut: Tokens left out of each prefix so that the longest continuation fits in the context.
    """

    nats_per_token: Tensor
    text_logprobs: list[Tensor]
    cut: list[int]


def continuation_likelihoods(
    lm: LM,
    prefixes: Sequence[Sequence[int]],
    continuations: Sequence[Sequence[int]],
    text_logprobs_from: Sequence[int] | None = None,
    batch_size: int = 32,
) -> Likelihoods:
    """Mean log-likelihood in nats per token of every continuation after every prefix.

    Equal prefixes and equal continuations are computed once, and the order of either changes nothing, so
    swapping two continuations swaps their columns exactly. A prefix too long for the context loses its
    beginning, except for a start token.

    Args:
        lm: The model that reads, its interventions engaged.
        prefixes: Token ids, at least one a row.
        continuations: Token ids, at least one each; concatenated as ids, so nothing merges at the boundary.
        text_logprobs_from: For each prefix the index, from 1 to its length, of the first of its own tokens
            whose log-probability is wanted too; it comes out of the same forward. None wants none.
        batch_size: Prefixes a forward, fewer where rows are long.

    Raises:
        UserError: The context has no room for the continuations.
    """
    starts = [len(p) for p in prefixes] if text_logprobs_from is None else list(text_logprobs_from)
    for prefix, start in zip(prefixes, starts, strict=True):
        if not 1 <= start <= len(prefix):
            raise ValueError(f"a prefix of {len(prefix)} tokens has no predicted token at index {start}")
    unique = sorted({tuple(c) for c in continuations})
    tree = build_tree(unique)
    room = _room(lm.resident, tree.longest)
    kept = [_fit(lm.resident, p, room) for p in prefixes]
    cut = [len(p) - len(k) for p, k in zip(prefixes, kept, strict=True)]
    # The log-probabilities of a cut prefix must still see what was cut, so those are read apart.
    starts_kept = [len(k) if c else s for k, c, s in zip(kept, cut, starts, strict=True)]
    jobs = sorted(set(zip(map(tuple, kept), starts_kept, strict=True)), key=lambda job: (len(job[0]), job))
    readings: dict[tuple[tuple[int, ...], int], Reading] = {}
    with lm.engaged() as model:
        route = _route(lm, model)
        for part in _batches([len(ids) for ids, _ in jobs], len(tree.ids), batch_size):
            rows, row_starts = [ids for ids, _ in jobs[part]], [s for _, s in jobs[part]]
            width = max(len(r) for r in rows) + len(tree.ids)
            # A window is counted in columns, and in a packed row the columns of a branch lie too far off.
            usable = route if width <= _window(lm.resident) or route is unpadded else plain
            readings.update(zip(jobs[part], usable(lm.resident, model, rows, tree, row_starts), strict=True))
    found = [readings[job] for job in zip(map(tuple, kept), starts_kept, strict=True)]
    texts = [r.text for r in found]
    for i in (i for i, c in enumerate(cut) if c and starts[i] < len(prefixes[i])):
        texts[i] = lm.logprobs([prefixes[i][: starts[i]]], [prefixes[i][starts[i] :]])[0]
    order = [unique.index(tuple(c)) for c in continuations]
    means = [[r.continuations[j].double().mean() for j in order] for r in found]
    return Likelihoods(torch.tensor(means, dtype=torch.float64).view(-1, len(order)), texts, cut)


def packed_width(lm: LM) -> int:
    """Tokens of the widest sequence in which texts may share a beginning behind a 4-D mask; 0 where none may.

    Whether the model reads such a sequence rightly is found by trying, once for each model.
    """
    with lm.engaged() as model:
        if _route(lm, model) is not packed:
            return 0
    return int(min(_window(lm.resident), _WIDEST))


def _room(resident: Resident, longest: int) -> int | None:
    """Tokens that a prefix may have; None without bound."""
    limit = resident.context_length
    if limit is None:
        return None
    if limit - longest < 2:
        raise UserError(
            f"The statements take up to {longest} tokens, which leaves no room for a text in the context of "
            f"{resident.name} ({limit} tokens). Shorten the statements or use a model with a longer context."
        )
    return limit - longest


def _fit(resident: Resident, prefix: Sequence[int], room: int | None) -> Sequence[int]:
    if room is None or len(prefix) <= room:
        return prefix
    start = resident.bos_id
    if start is not None and prefix[0] == start:
        return [start, *prefix[len(prefix) - room + 1 :]]
    return prefix[len(prefix) - room :]


def _batches(lengths: Sequence[int], nodes: int, batch_size: int) -> Iterator[slice]:
    """Slices of rows sorted by length, cut where a batch would be too large."""
    start = 0
    while start < len(lengths):
        stop = start + 1
        while stop < min(start + batch_size, len(lengths)):
            if (stop + 1 - start) * (lengths[stop] + nodes) ** 2 > _MASK_CELLS:
                break
            stop += 1
        yield slice(start, stop)
        start = stop


def _window(resident: Resident) -> float:
    """Tokens that a layer with local attention sees; infinite where the config names no window."""
    config = resident.model.config.get_text_config()
    sizes = [getattr(config, n, None) for n in ("sliding_window", "attention_chunk_size", "window_size")]
    return min((s for s in sizes if isinstance(s, int) and s > 0), default=float("inf"))


def _route(lm: LM, model: Any) -> Route:
    """The fastest route that gives what an unpadded forward gives; found once for each model.

    Not looked up by name: each route reads two short ragged texts and is compared with the slow one. The
    kinds of intervention belong to the key, since a prompt-tuning adapter, say, changes what is possible.
    """
    kinds = tuple(sorted({_kind(a.intervention) for a in lm.applied if a.strength != 0}))
    known = _verdicts.setdefault(lm.resident, {})
    if kinds not in known:
        route = _first_right(lm.resident, model)
        if route is None:
            return unpadded
        known[kinds] = route
    return known[kinds]


def _kind(intervention: Any) -> str:
    peft = getattr(getattr(intervention, "config", None), "peft_type", "")
    return f"{type(intervention).__name__}:{peft}"


def _first_right(resident: Resident, model: Any) -> Route | None:
    half = (resident.context_length or 64) // 2
    texts = [
        resident.encode("The longer of two short texts, read twice")[: min(12, half)],
        resident.encode("Short")[: min(4, half)],
    ]
    poles = [
        resident.continuation_ids(" yes, it is so")[:7],
        resident.continuation_ids(" no, it was not")[:6],
    ]
    tree = build_tree([[*p[:half], p[0]] for p in poles])
    starts = [max(1, len(t) - 2) for t in texts]
    truth = _flat(unpadded(resident, model, texts, tree, starts))
    if not bool(truth.isfinite().all()):
        return None
    probe = resident.probe
    usable: dict[Route, bool] = {
        packed: probe.left and resident.takes_positions,
        cached: probe.caches == "ragged" and resident.cache_name == "past_key_values",
        plain: True,
    }
    for route in (r for r in _CHECKED if usable[r]):
        try:
            found = _flat(route(resident, model, texts, tree, starts))
        except UNSUPPORTED:
            continue
        if float((found - truth).abs().mean()) <= _TOLERANCE.get(resident.model.dtype, 1e-1):
            return route
    return unpadded


def _flat(readings: Sequence[Reading]) -> Tensor:
    return torch.cat([t for r in readings for t in (*r.continuations, r.text)]).double()
