"""Changes of a next-token distribution as functions of logits; no model is named here.

Every tensor is float32 with tokens in its last dimension. A token at -inf is forbidden and stays so.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dipole.batching import chunks

_CHUNK = 4096


def boosted_share(share: float, beta: float) -> float:
    """Probability of a set of tokens whose logits rise by `beta`, from its probability before.

    P' = e^beta P / (1 - P + e^beta P): the odds of the set are multiplied by e^beta, and the proportions
    inside it, and outside it, stay as they were.
    """
    grown = math.exp(beta) * share
    return grown / (1 - share + grown)


def contrast(logits: Tensor, towards: Tensor, away: Tensor, weight: float) -> Tensor:
    """Add weight * (log p_towards - log p_away) to the logits.

    Args:
        logits: `(rows, vocab)` what is changed; -inf stays.
        towards: `(rows, vocab)` logits of the model that is followed, all finite.
        away: `(rows, vocab)` logits of the model that is avoided, all finite.
        weight: 0 changes nothing; negative turns the two round.
    """
    return logits + weight * (towards.log_softmax(-1) - away.log_softmax(-1))


def classifier_free(conditional: Tensor, unconditional: Tensor, guidance: float) -> Tensor:
    """Classifier-free guidance, log p(v|0) + g (log p(v|c) - log p(v|0)) (Sanchez et al. 2023, section 2).

    Guidance 0 is the unconditional distribution, 1 the conditional one.
    """
    return contrast(unconditional.log_softmax(-1), conditional, unconditional, guidance)


def plausible(logits: Tensor, cut: float) -> Tensor:
    """Which tokens have at least `cut` times the probability of the likeliest; never none (Li 2022)."""
    if cut <= 0:
        return ~logits.isneginf()
    return logits >= logits.amax(-1, keepdim=True) + math.log(cut)


def experts(base: Tensor, expert: Tensor, anti: Tensor, alpha: float, allowed: Tensor) -> Tensor:
    """DExperts: z_base + alpha (z_expert - z_anti) on the allowed tokens, -inf elsewhere (Liu 2021).

    The mask is computed from the base beforehand and put on last. The released code filters the base first
    and lets it stand in for an expert that is missing, which gives inf - inf.

    Args:
        base: `(rows, vocab)`.
        expert: `(rows, vocab)`, all finite.
        anti: `(rows, vocab)`, all finite.
        alpha: 0 is the base, cut to the allowed tokens.
        allowed: `(rows, vocab)` which tokens may be said; see `nucleus` and `plausible`.
    """
    return contrast(base, expert, anti, alpha).masked_fill(~allowed, -torch.inf)


def contrastive_decoding(
    expert: Tensor, amateur: Tensor, coefficient: float = 1.0, cut: float = 0.1, temperature: float = 1.0
) -> Tensor:
    """Contrastive decoding: log p_expert - c log p_amateur on the plausible tokens (Li et al. 2022).

    Args:
        expert: `(rows, vocab)`.
        amateur: `(rows, vocab)`, all finite.
        coefficient: c; the published runs have 1.0.
        cut: Tokens below this share of the expert's likeliest are left out.
        temperature: Divides the amateur's logits.
    """
    scores = expert.log_softmax(-1) - coefficient * (amateur / temperature).log_softmax(-1)
    return scores.masked_fill(~plausible(expert, cut), -torch.inf)


def nearness(embeddings: Tensor, tokens: Tensor, center: bool = True) -> Tensor:
    """Cosine of every token's embedding with its nearest among some tokens, negative ones set to 0.

    Args:
        embeddings: `(vocab, width)` in any dtype; read a few thousand rows at a time.
        tokens: `(k,)` ids, at least one.
        center: Subtract the mean embedding first. Embeddings of language models share a large common part,
            which makes every two of them look alike.

    Returns:
        `(vocab,)` float32 from 0 to 1, on the device of the embeddings; 1 at the tokens themselves.
    """
    middle = embeddings.new_zeros(embeddings.shape[1], dtype=torch.float32)
    if center:
        for part in chunks(len(embeddings), _CHUNK):
            middle += embeddings[part].float().sum(0) / len(embeddings)

    def unit(rows: Tensor) -> Tensor:
        return torch.nn.functional.normalize(rows.float() - middle, dim=-1)

    wanted = unit(embeddings[tokens.to(embeddings.device)])
    near = [(unit(embeddings[part]) @ wanted.T).amax(-1) for part in chunks(len(embeddings), _CHUNK)]
    return torch.cat(near).clamp(0.0, 1.0)
