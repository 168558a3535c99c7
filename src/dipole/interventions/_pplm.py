"""PPLM: gradient steps on the keys and values of past tokens, a few for every new token."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from dipole.interventions._folder import checked_apply, need, read_meta, read_tensors, write_folder
from dipole.interventions._guide import Session
from dipole.interventions._kv import KeyValues, Pair, Read
from dipole.interventions._pplm_maths import bag_loss, divergence, fuse, gradient_norm, probe_loss, step
from dipole.interventions.logits import base_of, number
from dipole.types import Surface, UserError

if TYPE_CHECKING:
    from dipole.lm import LM

_NUMBERS = ("step_size", "steps", "gamma", "gm", "kl_scale", "window", "horizon")


@dataclass(frozen=True, eq=False)
class Pplm:
    """Moves the past that the model attends to until it says what is wanted (Dathathri et al. 2020).

    Strength multiplies the step size. A negative one climbs the loss of the attribute and still descends the
    KL. Departures from the released code:

    1. The recent window is the last positions; the release built its mask the wrong way round and moved the
       oldest ones.
    2. Norms of gradients are taken for each row, so that a row does not depend on its batch; padding has no
       gradient and gets no step.
    3. Temperature and truncation come after the fusion, for both distributions alike; the release tempers the
       perturbed one alone.
    4. A probe reads the mean over the states that there are; the release divides by one more.
    5. The step has one length throughout a text (the release's decay and grad_length are left out).

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
        base_name: The model it was fitted on.
        base_fingerprint: Its fingerprint.
        facts: How it was made, as plain data.
        card: Model card in Markdown.
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
    base_name: str
    base_fingerprint: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    card: str = ""

    surface: ClassVar[Surface] = "logits"
    kind: ClassVar[str] = "pplm"
    graded: ClassVar[bool] = True

    def apply(self, lm: LM, strength: float = 1.0) -> LM:
        """The LM with a past that is moved; negative strengths move it the other way.

        Raises:
            UserError: The strength is not finite, or the LM is another.
        """
        return checked_apply(self, lm, strength, self.base_name, self.base_fingerprint)

    def guide(self, session: Session, strength: float) -> PplmGuide:
        """What changes the logits of one batch.

        Raises:
            UserError: The model keeps no keys and values.
        """
        return PplmGuide(session, self, strength)

    def save(self, folder: Path) -> None:
        """Write tensors, `dipole.json` and a card."""
        found = {"bag": self.bag, "probe": self.probe, "probe_bias": self.probe_bias}
        numbers = {name: getattr(self, name) for name in _NUMBERS}
        meta = {
            "surface": self.surface,
            "kind": self.kind,
            **base_of(self),
            **numbers,
            "facts": self.facts,
        }
        write_folder(folder, meta, {k: v for k, v in found.items() if v is not None}, self.card)

    @classmethod
    def load(cls, folder: Path) -> Pplm:
        """Read what `save` wrote.

        Raises:
            UserError: It can't be read.
        """
        meta, tensors = read_meta(folder), read_tensors(folder)
        step_size, steps, gamma, gm, kl_scale, window, horizon = (
            number(value, folder, name)
            for name, value in zip(_NUMBERS, need(meta, folder, *_NUMBERS), strict=True)
        )
        if "bag" not in tensors and not {"probe", "probe_bias"} <= set(tensors):
            raise UserError(f"The tensors in {folder} hold neither a bag nor a probe; fit the control again.")
        name, fingerprint = need(meta, folder, "base", "base_fingerprint")
        return cls(
            tensors.get("bag"),
            tensors.get("probe"),
            tensors.get("probe_bias"),
            step_size,
            int(steps),
            gamma,
            gm,
            kl_scale,
            int(window),
            int(horizon),
            str(name),
            str(fingerprint),
            meta.get("facts", {}),
        )


class PplmGuide:
    """Perturbs keys and values of its own, and fuses what the model then says with what it says anyway."""

    def __init__(self, session: Session, made: Pplm, strength: float) -> None:
        """Prepare; nothing is read before the first step."""
        self._session, self._made = session, made
        self._size = made.step_size * abs(strength)
        self._sign = 1.0 if strength >= 0 else -1.0
        rows = [list(row.ids) for row in session.rows]
        # The row itself: what the model says unperturbed and unguided.
        self.streams: Sequence[Sequence[int]] = rows
        device = session.resident.device
        self._last = torch.tensor([row[-1] for row in rows], device=device)
        self._tensors = {
            name: None if (t := getattr(made, name)) is None else t.to(device)
            for name in ("bag", "probe", "probe_bias")
        }
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
        for _ in range(self._made.steps):
            past.add(self._deltas(past, streams.log_softmax(-1), ahead))
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
        self._norms = [norm if norm is None else norm[index.to(norm.device)] for norm in self._norms]

    def _read_prompts(self) -> tuple[KeyValues, KeyValues | None]:
        resident, model = self._session.resident, self._session.model
        rows = self.streams
        past = KeyValues(resident, model, rows)
        return past, KeyValues(resident, model, rows) if self._tensors["probe"] is not None else None

    def _deltas(self, past: KeyValues, unperturbed: Tensor, ahead: Read | None) -> list[Pair | None]:
        """One gradient step for every layer, `None` for those that store nothing yet."""
        with torch.enable_grad():
            deltas = [self._fresh(offset) for offset in past.offsets]
            leaves = [tensor for pair in deltas if pair is not None for tensor in pair]
            if not leaves:
                return deltas
            found = past.read(past.shifted(deltas), self._last)
            loss = self._loss(found, unperturbed, ahead)
            gradients = torch.autograd.grad(loss.sum(), leaves, allow_unused=True)
        flat = iter(torch.zeros_like(x) if g is None else g for x, g in zip(leaves, gradients, strict=True))
        return [
            None if pair is None else self._step(index, Pair(next(flat), next(flat)), past.real[index])
            for index, pair in enumerate(deltas)
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
            attribute = attribute + bag_loss(logprobs, [bag.to(logprobs.device)])
        if probe is not None and bias is not None and ahead is not None:
            pooled = self._pooled(found, ahead)
            attribute = attribute + probe_loss(pooled, probe.to(pooled.device), bias.to(pooled.device))
        kl = divergence(logprobs, unperturbed.to(logprobs.device))
        return self._sign * attribute + self._made.kl_scale * kl

    def _pooled(self, found: Read, ahead: Read) -> Tensor:
        """Mean final hidden state of the text, its last token perturbed, and of what would come next."""
        plain = self._plain
        assert plain is not None
        total = plain.total.to(found.hidden.device) + found.hidden
        embedding = self._session.model.get_input_embeddings()
        logits, cache = found.logits, ahead.cache
        for k in range(self._made.horizon):
            expected = expected_embedding(logits.softmax(-1), embedding)
            following = plain.read(_branch(cache), expected, ahead=1 + k)
            total = total + following.hidden
            logits, cache = following.logits, following.cache
        return total / (plain.count.to(total.device) + 1 + self._made.horizon)

    def _step(self, layer: int, gradient: Pair, real: Tensor) -> Pair:
        real = real.to(gradient.keys.device)[:, :, real.shape[2] - gradient.keys.shape[2] :]
        masked = Pair(*(tensor * real for tensor in gradient))
        norm = gradient_norm(*masked)
        before = self._norms[layer]
        if self._tensors["bag"] is not None and before is not None:
            norm = torch.maximum(norm, before)
        self._norms[layer] = norm
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


def _branch(cache: Any) -> Any:
    """A copy of a cache that can be continued without changing it."""
    copied = copy.copy(cache)
    copied.layers = [copy.copy(layer) for layer in cache.layers]
    return copied
