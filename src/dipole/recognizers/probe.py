"""Probe: what a language model's own activations say of a text, by logistic regression on one layer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from dipole.concepts import Dipole
from dipole.engaging.blocks import decoder_blocks
from dipole.probing.directions import labelled
from dipole.probing.logistic import Logistic, logistic
from dipole.protocols import LM
from dipole.reading.pairs import halves, read_last, read_pairs, spread_layers
from dipole.reading.told import tell
from dipole.recognizers._statements import statements, texts_of
from dipole.types import Score, UserError

_PLATT_RIDGE = 1e-3
_MOST_LAYERS = 8


class Fitted(NamedTuple):
    """A calibrated probe.

    Attributes:
        layer: Block whose output it reads, counted from 0.
        probe: Log-odds of an activation before calibration.
        slope: Calibrated log-odds are `slope * log-odds + offset`.
        offset: See `slope`.
        loss: Mean cross-entropy in nats on the completions that it was calibrated on.
        accuracy: Share of those that it puts on the right side.
        prompts: Prompts that follow a text that is scored.
    """

    layer: int
    probe: Logistic
    slope: float
    offset: float
    loss: float
    accuracy: float
    prompts: tuple[str, ...]


def platt(log_odds: Tensor, labels: Tensor) -> tuple[float, float]:
    """Slope and offset that calibrate log-odds on other data (Platt 1999).

    Labels are pulled in by one imagined example on the other side, as published, so that a probe that
    separates all of n examples claims no more than about log n nats.

    Args:
        log_odds: `(n,)`.
        labels: `(n,)` 1 or 0.
    """
    ones = float(labels.sum())
    zeros = len(labels) - ones
    targets = torch.where(labels > 0, (ones + 1) / (ones + 2), 1 / (zeros + 2))
    found = logistic(log_odds[:, None], targets.double(), _PLATT_RIDGE)
    return max(float(found.weight[0]), 0.0), found.bias


@dataclass(frozen=True)
class Probe:
    """Scores a text by what the judge's activations say of a choice that follows it.

    The probe is a logistic regression on the activations of one layer, at the last token of prompts that
    force the choice, with the claim or its opposite in front, in several wordings. A text is scored in the
    place where the pole stood: in front of prompts, whose log-odds are averaged.

    Half of the dipole's prompts fit it. To the other half the judge writes completions, told the claim and
    told its opposite; without the pole in front these calibrate the probe (Platt 1999) and choose the layer,
    by cross-entropy. Poles alone would not do: an early layer tells their words apart and nothing else.

    Attributes:
        judge: The LM whose activations are read; its interventions are engaged.
        layers: Layers to try, counted from 0; up to 8 of them, evenly spread, if empty.
        prompts: How many of the dipole's prompts follow each text.
        ridge: Penalty of the regression, in units of the activations' own size.
        n: Completions under each pole to calibrate on.
        max_new_tokens: Token budget of each.
        seed: Their seed.
    """

    judge: LM
    layers: tuple[int, ...] = ()
    prompts: int = 2
    ridge: float = 1.0
    n: int = 32
    max_new_tokens: int = 28
    seed: int = 0
    _fits: dict[str, Fitted] = field(default_factory=dict, init=False, repr=False, compare=False)

    name: ClassVar[str] = "probe"

    def __post_init__(self) -> None:
        """Refuse values that mean nothing."""
        for name in ("prompts", "n", "max_new_tokens"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} must be at least 1, and is {getattr(self, name)}.")
        if not (self.ridge > 0 and math.isfinite(self.ridge)):
            raise UserError(f"ridge must be above 0, and is {self.ridge}.")

    def score(self, texts: Sequence[str], concept: Any) -> list[Score]:
        """Log-odds of each text, positive towards the claim; unscored where it is empty or too long.

        Raises:
            UserError: The concept is no dipole with prompts, or its prompts do not fit in the context.
        """
        listed = texts_of(texts, self.name)
        fitted = self.fit(concept)
        rows, where = [], []
        scores = [Score.unscored("the text is empty")] * len(listed)
        for index, text in enumerate(listed):
            if not text.strip():
                continue
            following = _followed([text], fitted.prompts)
            length = max(len(self.judge.resident.encode(whole)) for whole in following)
            limit = self.judge.resident.context_length
            if limit is not None and length > limit:
                scores[index] = Score.unscored(
                    f"with a prompt behind it the text has {length} tokens, more than the context ({limit})"
                )
                continue
            rows += following
            where.append(index)
        if where:
            states, _ = read_last(self.judge, rows, [fitted.layer])
            odds = fitted.slope * fitted.probe.log_odds(states[0]) + fitted.offset
            for index, value in zip(where, odds.reshape(len(where), -1).mean(1).tolist(), strict=True):
                scores[index] = _to_score(value)
        return scores

    def fit(self, concept: Any) -> Fitted:
        """The calibrated probe of a dipole; fitted once for each.

        Raises:
            UserError: As for `score`.
        """
        statements(concept, self.name)
        if not isinstance(concept, Dipole) or not concept.prompts:
            raise UserError(
                "probe reads the model where it makes a choice, so it needs a dipole with prompts that force "
                'one; add some, such as "If I had to choose between tea and coffee, I\'d pick".'
            )
        key = repr(concept)
        if key not in self._fits:
            self._fits[key] = self._fitted(concept)
        return self._fits[key]

    def _fitted(self, dipole: Dipole) -> Fitted:
        fitting, calibrating = halves(dipole.prompts)
        layers = self.layers or spread_layers(len(decoder_blocks(self.judge.resident.model)), _MOST_LAYERS)
        prompts = fitting[: self.prompts]
        reading = read_pairs(self.judge, dipole, fitting, layers, plain=True)
        told = tell(self.judge.base, dipole, calibrating, self.n, self.max_new_tokens, self.seed)
        written = [*told.texts(told.claim), *told.texts(told.against)]
        states, _ = read_last(self.judge, _followed(written, prompts), layers)
        labels = torch.tensor([1.0] * self.n + [0.0] * self.n, dtype=torch.float64)
        tried = []
        for row, layer in enumerate(layers):
            probe = logistic(*labelled(reading.claim[row], reading.against[row]), self.ridge)
            odds = probe.log_odds(states[row]).reshape(len(written), -1).mean(1)
            slope, offset = platt(odds, labels)
            calibrated = slope * odds + offset
            loss = float((torch.nn.functional.softplus(calibrated) - labels * calibrated).mean())
            right = float(((calibrated > 0) == (labels > 0)).double().mean())
            tried.append(Fitted(layer, probe, slope, offset, loss, right, prompts))
        return min(tried, key=lambda found: found.loss)


def _followed(texts: Sequence[str], prompts: Sequence[str]) -> list[str]:
    """Each text in front of each prompt, as a pole stood there."""
    return [f"{text.strip()} {prompt}" for text in texts for prompt in prompts]


def _to_score(value: float) -> Score:
    if not math.isfinite(value):
        return Score.unscored("the judge's activations are not finite")
    return Score(value)
