"""What PPLM does to one batch: a past of its own for every row, and gradient steps on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from dipole.decoding.guides import Session
from dipole.decoding.stepping import branched
from dipole.interventions._kv import KeyValues, Pair, Read
from dipole.interventions._pplm_maths import (
    bag_loss,
    divergence,
    fuse,
    gradient_norm,
    plausible,
    probe_loss,
    step,
)


@dataclass(frozen=True, eq=False)
class Moves:
    """How the past is moved, and towards what.

    Attributes:
        bag: `(k,)` int64 tokens of a bag of words, or none where a probe is used.
        probe: `(width,)` float32 weights of a linear probe on the mean final hidden state, or none.
        probe_bias: `()` float32.
        step_size: Length of a step at strength 1 and gamma 1.
        steps: Gradient steps a token (m).
        gamma: Exponent of the gradient's norm.
        gm: Share of the perturbed distribution in the geometric mean with the unperturbed one.
        kl_scale: Weight of the KL to the unperturbed distribution in the loss.
        window: Last positions that are moved; 0 is all.
        horizon: Steps ahead that a probe looks.
        plausible: Least probability of the bag, as a share of that of the likeliest token, for steps to be
            taken; 0 takes them at every token. A probe takes them at every token.
    """

    bag: Tensor | None
    probe: Tensor | None
    probe_bias: Tensor | None
    step_size: float
    steps: int
    gamma: float
    gm: float
    kl_scale: float
    window: int
    horizon: int
    plausible: float = field(default=0.0, kw_only=True)


class PplmGuide:
    """Perturbs keys and values of its own, and fuses what the model then says with what it says anyway."""

    def __init__(self, session: Session, made: Moves, strength: float) -> None:
        """Prepare; nothing is read before the first step."""
        self._session, self._made = session, made
        self._size = made.step_size * abs(strength)
        self._away = strength < 0
        rows = [list(row.ids) for row in session.rows]
        # The row itself: what the model says unperturbed and unguided.
        self.streams: Sequence[Sequence[int]] = rows
        device = session.resident.device
        self._last = torch.tensor([row[-1] for row in rows], device=device)
        found = {"bag": made.bag, "probe": made.probe, "probe_bias": made.probe_bias}
        self._tensors = {name: None if t is None else t.to(device) for name, t in found.items()}
        self._norms: list[Tensor | None] = []
        self._past: KeyValues | None = None
        self._plain: KeyValues | None = None  # unperturbed, for the horizon of a probe

    def __call__(self, logits: Tensor, streams: Tensor) -> Tensor:
        """Changed logits."""
        if self._past is None:
            self._past, self._plain = self._read_prompts()
            self._norms = [None] * len(self._past.cache.layers)
        past, plain = self._past, self._plain
        ahead = None if plain is None else plain.read(plain.cache, self._last)
        index = self._moved_rows(streams)
        if len(index):
            self._move(past, index, streams.log_softmax(-1), ahead)
        last = past.read(past.shifted([None] * len(past.offsets)), self._last)
        past.take(last)
        if plain is not None and ahead is not None:
            plain.take(ahead)
        return fuse(logits, last.logits.to(logits.device), streams, self._made.gm)

    def advance(self, tokens: Tensor) -> None:
        """Take one more token."""
        self._last = tokens.to(self._last.device)

    def keep(self, index: Tensor) -> None:
        """Go on with these rows only."""
        self._last = self._last[index.to(self._last.device)]
        for rows in (self._past, self._plain):
            if rows is not None:
                rows.keep(index)
        self._norms = [_rows(norm, index) for norm in self._norms]

    def _read_prompts(self) -> tuple[KeyValues, KeyValues | None]:
        resident, model = self._session.resident, self._session.model
        rows = self.streams
        past = KeyValues(resident, model, rows)
        return past, KeyValues(resident, model, rows) if self._tensors["probe"] is not None else None

    def _moved_rows(self, streams: Tensor) -> Tensor:
        """Which rows take steps for the next token: those where the bag could stand, or all for a probe."""
        bag = self._tensors["bag"]
        if bag is None:
            return torch.arange(len(streams), device=streams.device)
        return plausible(streams, bag.to(streams.device), self._made.plausible).nonzero()[:, 0]

    def _move(self, past: KeyValues, index: Tensor, unperturbed: Tensor, ahead: Read | None) -> None:
        """Take the steps of one token in these rows; the others are not even read."""
        part = past if len(index) == len(unperturbed) else past.part(index)
        last, norms = self._last[index.to(self._last.device)], [_rows(norm, index) for norm in self._norms]
        for _ in range(self._made.steps):
            part.add(self._deltas(part, last, unperturbed[index], ahead, norms))
        past.put(index, part)
        for layer, norm in enumerate(norms):
            if norm is not None:
                whole = self._norms[layer]
                whole = norm.new_zeros(len(unperturbed)) if whole is None else whole
                self._norms[layer] = whole.index_copy(0, index.to(norm.device), norm)

    def _deltas(
        self,
        past: KeyValues,
        last: Tensor,
        unperturbed: Tensor,
        ahead: Read | None,
        norms: list[Tensor | None],
    ) -> list[Pair | None]:
        """One gradient step for every layer, `None` for those that store nothing yet; brings up `norms`."""
        with torch.enable_grad():
            deltas = [self._fresh(offset) for offset in past.offsets]
            leaves = [tensor for pair in deltas if pair is not None for tensor in pair]
            if not leaves:
                return deltas
            found = past.read(past.shifted(deltas), last)
            loss = self._loss(found, unperturbed, ahead)
            gradients = torch.autograd.grad(loss.sum(), leaves, allow_unused=True)
        flat = iter(torch.zeros_like(x) if g is None else g for x, g in zip(leaves, gradients, strict=True))
        return [
            None if pair is None else self._step(layer, Pair(next(flat), next(flat)), past.real[layer], norms)
            for layer, pair in enumerate(deltas)
        ]

    def _fresh(self, offset: Pair | None) -> Pair | None:
        """Zeros that gradients are taken with respect to, for the positions in the window."""
        if offset is None:
            return None
        window = self._made.window or offset.keys.shape[2]
        return Pair(*(torch.zeros_like(t[:, :, -window:]).requires_grad_() for t in offset))

    def _loss(self, found: Read, unperturbed: Tensor, ahead: Read | None) -> Tensor:
        """What is descended, `(rows,)`."""
        logprobs = found.logits.log_softmax(-1)
        bag, probe, bias = (self._tensors[name] for name in ("bag", "probe", "probe_bias"))
        attribute = logprobs.new_zeros(len(logprobs))
        if bag is not None:
            attribute = attribute + self._bag_loss(logprobs, [bag.to(logprobs.device)])
        if probe is not None and bias is not None and ahead is not None:
            pooled = self._pooled(found, ahead)
            probe, bias = probe.to(pooled.device), bias.to(pooled.device)
            attribute = attribute + probe_loss(pooled, probe, bias, self._away)
        kl = divergence(logprobs, unperturbed.to(logprobs.device))
        return attribute + self._made.kl_scale * kl

    def _bag_loss(self, logprobs: Tensor, bags: Sequence[Tensor]) -> Tensor:
        if self._made.plausible > 0:
            return bag_loss(logprobs, bags, self._away)
        # Where the bag can't stand the other loss is flat, and a gamma above 1 makes giant steps of nothing.
        return -bag_loss(logprobs, bags) if self._away else bag_loss(logprobs, bags)

    def _pooled(self, found: Read, ahead: Read) -> Tensor:
        """Mean final hidden state of the continuation, from the prompt's last token on, and of what comes."""
        plain = self._plain
        assert plain is not None
        # With a horizon the newest state is the unperturbed one. Steps on the perturbed one please the probe
        # at once, along directions that the output embedding hardly reads, and change no word.
        newest = ahead.hidden if self._made.horizon else found.hidden
        total = plain.total.to(newest.device) + newest
        embedding = self._session.model.get_input_embeddings()
        logits, cache = found.logits, ahead.cache
        for k in range(self._made.horizon):
            expected = expected_embedding(logits.softmax(-1), embedding)
            following = plain.read(branched(cache), expected, ahead=1 + k)
            total = total + following.hidden
            logits, cache = following.logits, following.cache
        return total / (plain.taken + 1 + self._made.horizon)

    def _step(self, layer: int, gradient: Pair, real: Tensor, norms: list[Tensor | None]) -> Pair:
        real = real.to(gradient.keys.device)[:, :, real.shape[2] - gradient.keys.shape[2] :]
        masked = Pair(*(tensor * real for tensor in gradient))
        norm = gradient_norm(*masked)
        before = norms[layer]
        if before is not None:  # so that steps get shorter where there is less left to gain
            norm = torch.maximum(norm, before)
        norms[layer] = norm
        return Pair(*(step(tensor, norm, self._size, self._made.gamma) for tensor in masked))


def expected_embedding(probabilities: Tensor, embedding: Any) -> Tensor:
    """Mean input embedding under a distribution, `(rows, width)` in the model's dtype.

    Some architectures scale what they look up, and the scale is read off one token.
    """
    weight = embedding.weight
    probe = torch.tensor([int(weight.detach()[:64].float().norm(dim=-1).argmax())], device=weight.device)
    with torch.no_grad():
        looked, plain = embedding(probe)[0].float(), weight[probe[0]].float()
        scale = float((looked @ plain) / (plain @ plain))
    mean: Tensor = probabilities.to(weight.device, weight.dtype) @ weight
    return mean * scale


def _rows(tensor: Tensor | None, index: Tensor) -> Tensor | None:
    return None if tensor is None else tensor[index.to(tensor.device)]
