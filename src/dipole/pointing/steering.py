"""What steers by a refined notion: guidance by a probe of beginnings, or a vector."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from dipole.concepts.text import text_of
from dipole.controls.layers import steering_vector
from dipole.controls.selection import choose
from dipole.corpora.corpus import Corpus
from dipole.interventions.activations import SteeringVector
from dipole.interventions.fudge import Fudge
from dipole.interventions.logits import made_for
from dipole.pointing.difference import weighted_difference
from dipole.pointing.prefixes import guidance
from dipole.probing.directions import Direction
from dipole.protocols import Intervention
from dipole.reading.losses import loss_under, perplexity_ratio
from dipole.reading.told import spread
from dipole.recognizers.notion import NotionScore
from dipole.recognizers.pooled import Features, read_features
from dipole.types import Sample

if TYPE_CHECKING:
    from dipole.protocols import LM

Array = NDArray[np.float64]
Labels = NDArray[np.bool_]
Steer = Literal["fudge", "vector"]
_MOST_TEXTS = 2000
_CANDIDATES, _MASS = 20, 0.99  # as the control fudge has them
_SCALES = (0.2, 0.4, 0.6, 0.8)
_TRIALS = 24
RULE = (
    "the smallest push whose mean probability by the refined notion is within 0.02 (or a tenth of the gain) "
    "of the best, among those whose texts have at most {ceiling:g} times the base's own perplexity"
)


def steering(
    lm: LM,
    kind: Steer,
    corpus: Corpus,
    fit: Labels,
    member: Array,
    features: Features,
    recognizer: NotionScore,
    prompts: Sequence[str],
    max_new_tokens: int,
    seed: int,
) -> Intervention:
    """The intervention, fitted on the documents to fit on and the notion's own labels.

    Args:
        lm: What is steered.
        kind: How.
        corpus: The documents.
        fit: Which of them to fit on.
        member: `(n,)` probability of the refined notion.
        features: Of all documents.
        recognizer: The refined notion; chooses the scale of a vector.
        prompts: What texts will be written behind.
        max_new_tokens: Token budget of a text that a scale is chosen by.
        seed: Of the draw.
    """
    if kind == "vector":
        return _vector(lm, fit, member, features, recognizer, prompts, max_new_tokens, seed)
    chosen = set(_balanced(fit, member, seed).tolist())
    texts, labels = [], []
    for row, document in enumerate(corpus):
        if row in chosen:
            texts.append(document.text)
            labels.append(member[row])
    return guidance(
        lm, texts, np.array(labels), [p for p in prompts if p], recognizer.layer, _CANDIDATES, seed, _MASS,
        prior=float(member[fit].mean()),
    )  # fmt: skip


def rehearse(lm: LM, kind: Steer, layer: int, prompts: Sequence[str], max_new_tokens: int) -> None:
    """Find out, before a corpus is read, what the model can't do with the notion or the prompts.

    Raises:
        UserError: A prompt leaves no room, or the model can't be read or steered in this way.
    """
    for prompt in prompts:
        lm.require_room(text_of(prompt, "prompt"), max(max_new_tokens, 1))
    features = read_features(lm, ["A text to be read."], [layer])
    width = features.at(layer).shape[-1]
    made: Intervention
    if kind == "vector":
        made = steering_vector(lm, Direction(torch.ones(width), 1), layer, (1.0, 1.0), "add")
    else:
        still = (torch.zeros(2 * width), torch.zeros(()))
        made = Fudge(layer, *still, 2, mass=1.0, **made_for(lm))
    made.apply(lm, 1.0).sample(prompts[:1], [0], 1)


def _balanced(fit: Labels, member: Array, seed: int) -> NDArray[np.int64]:
    """At most so many documents, as many of either side where there are."""
    rng = np.random.default_rng(seed)
    sides = [np.flatnonzero(fit & ((member > 0.5) == side)) for side in (True, False)]
    half = _MOST_TEXTS // 2
    return np.concatenate([rng.permutation(side)[:half] for side in sides])


def _vector(
    lm: LM,
    fit: Labels,
    member: Array,
    features: Features,
    recognizer: NotionScore,
    prompts: Sequence[str],
    max_new_tokens: int,
    seed: int,
) -> SteeringVector:
    layer = recognizer.layer
    rows = features.at(layer)[torch.from_numpy(fit)].double().numpy()
    direction = Direction(torch.from_numpy(weighted_difference(member[fit], rows)), 1)
    norm = features.norms[features.layers.index(layer)]
    made = steering_vector(lm, direction, layer, (norm, norm), "add")
    asked, seeds = spread(prompts, _TRIALS, seed + 1)
    base = lm.sample(asked, seeds, max_new_tokens)
    own = loss_under(lm.base, base)

    def liked(samples: Sequence[Sample]) -> float:
        return float(
            np.mean([score.probability for score in recognizer.score([s.full_text for s in samples])])
        )

    def measure(vector: SteeringVector) -> tuple[float, float]:
        samples = vector.apply(lm, 1.0).sample(asked, seeds, max_new_tokens)
        return liked(samples), perplexity_ratio(lm.base, samples, own)

    tried = [
        ({"layer": layer, "scale": scale}, scale, made.scaled(scale / made.relative[0])) for scale in _SCALES
    ]
    selection = choose(tried, measure, liked(base), prompts, RULE)
    best = tried[selection.chosen][2]
    return replace(best, read_token="unknown", template_hash="", facts={"selection": selection.to_dict()})
