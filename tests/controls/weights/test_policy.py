"""What holds the policy near the base: exact divergences, and the anchor on the base's own texts."""

from __future__ import annotations

import pytest
import torch

from architectures import fresh_tiny_model
from controls.weights.small import Letters, Plain, small
from dipole.controls.weights import Run
from dipole.controls.weights._policy import exact_kl


def slow_kl(left: list[float], right: list[float]) -> float:
    """KL(left || right) of two lists of log-probabilities, one token at a time."""
    total = 0.0
    for a, b in zip(left, right, strict=True):
        total += float(torch.tensor(a).exp()) * (a - b)
    return total


@pytest.mark.parametrize("covering", [True, False])
def test_exact_kl_agrees_with_a_loop(covering: bool) -> None:
    torch.manual_seed(0)
    logits, other = torch.randn(2, 3, 7), torch.randn(2, 3, 7).log_softmax(-1)
    found = exact_kl(logits, other, covering)
    policy = logits.log_softmax(-1)
    for row in range(2):
        for token in range(3):
            pair = [other[row, token].tolist(), policy[row, token].tolist()]
            left, right = pair if covering else pair[::-1]
            assert found[row, token].item() == pytest.approx(slow_kl(left, right), abs=1e-5)


def test_exact_kl_of_a_distribution_from_itself_is_nothing() -> None:
    logits = torch.randn(1, 2, 5)
    assert exact_kl(logits, logits.log_softmax(-1), True).abs().max() < 1e-6


def drift(anchor_coef: float) -> float:
    """KL of the trained model from the base, nats a text, on texts that the base writes unprompted."""
    lm = fresh_tiny_model("gpt2")
    ppo = small(rounds=8, batch_size=16, lr=1e-2, anchor_coef=anchor_coef, anchor_size=8, kl_coef=0.0)
    after = ppo.fit(lm, Plain(prompts=("The",)), recognizer=Letters()).apply(lm)
    texts = lm.generate("", n=32, max_new_tokens=ppo.max_new_tokens, seed=99)
    rows = [[s.prompt_ids for s in texts], [s.token_ids for s in texts]]
    pairs = zip(lm.logprobs(*rows), after.logprobs(*rows), strict=True)
    return sum(float((own - moved).sum()) for own, moved in pairs) / len(texts)


def test_the_anchor_keeps_the_bases_own_texts_in_place() -> None:
    free, held = drift(0.0), drift(20.0)
    assert free > 0.05  # there is something to hold
    assert held < 0.5 * free


def test_softening_the_base_raises_the_entropy() -> None:
    def entropy(temperature: float) -> float:
        lm, last = fresh_tiny_model("gpt2"), []
        ppo = small(
            rounds=12, batch_size=16, lr=1e-2, kl_coef=0.0, kl_loss_coef=5.0, kl_loss_temperature=temperature
        )
        ppo.fit(lm, Plain(prompts=("The",)), Run(on_round=lambda _i, _n, m: last.append(m)), Letters())
        return float(last[-1]["entropy"])

    assert entropy(3.0) > entropy(1.0) + 0.05
