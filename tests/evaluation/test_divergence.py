"""KL and likelihoods of completions against one model call a token."""

from __future__ import annotations

import numpy as np
import pytest

from dipole.evaluation import divergence as module
from dipole.evaluation.divergence import divergence
from dipole.lm import LM
from dipole.models.resident import TransformersResident
from dipole.types import UserError
from evaluation import fakes
from reference import side_effects as slow
from tolerance import BATCHED_LOGITS

PROMPTS = ["Paper clips are", "The cats like the dogs. She said", "I"]


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_divergence_equals_one_call_a_token(name: str) -> None:
    before, after, _ = fakes.changed(name, 0.2)
    samples = after.generate(PROMPTS, max_new_tokens=5, seed=4)
    assert len({len(s.prompt_ids) for s in samples}) > 1
    got = divergence(before, after, samples)
    for row, s in enumerate(samples):
        with after.engaged() as model:
            after_logprob = slow.response_logprob(model, s.prompt_ids, s.token_ids)
            p = [
                slow.next_distribution(model, [*s.prompt_ids, *s.token_ids[:t]])
                for t in range(len(s.token_ids))
            ]
        base = before.resident.model
        q = [slow.next_distribution(base, [*s.prompt_ids, *s.token_ids[:t]]) for t in range(len(s.token_ids))]
        want = sum(float((a * (a / b).log()).sum()) for a, b in zip(p, q, strict=True))
        assert got.kl[row] == pytest.approx(want, rel=BATCHED_LOGITS, abs=BATCHED_LOGITS)
        assert got.logprob_after[row] == pytest.approx(after_logprob, abs=BATCHED_LOGITS)
        want = slow.response_logprob(base, s.prompt_ids, s.token_ids)
        assert got.logprob_before[row] == pytest.approx(want, abs=BATCHED_LOGITS)


def test_small_groups_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    before, after, _ = fakes.changed()
    samples = after.generate(PROMPTS, n=2, max_new_tokens=5)
    whole = divergence(before, after, samples)
    monkeypatch.setattr(module, "ELEMENTS", 1)
    parts = divergence(before, after, samples, batch_size=1)
    np.testing.assert_allclose(whole.kl, parts.kl, atol=BATCHED_LOGITS)
    np.testing.assert_allclose(whole.logprob_before, parts.logprob_before, atol=BATCHED_LOGITS)


def test_an_lm_does_not_diverge_from_itself() -> None:
    before, _, adapter = fakes.changed()
    for same in (before, adapter.apply(before, 0.0)):
        samples = same.generate(PROMPTS, max_new_tokens=5)
        got = divergence(before, same, samples)
        assert (got.kl == 0).all()
        assert (got.logprob_after == got.logprob_before).all()


def test_the_sampled_estimate_agrees_on_average() -> None:
    before, after, _ = fakes.changed(size=0.1)
    samples = after.generate(PROMPTS, n=120, max_new_tokens=3)
    got = divergence(before, after, samples)
    sampled = got.logprob_after - got.logprob_before
    error = sampled.std() / np.sqrt(len(sampled))
    assert abs(sampled.mean() - got.kl.mean()) < 4 * error
    assert got.kl.std() < sampled.std()


def test_logits_are_one_row_a_token() -> None:
    before, _, _ = fakes.changed()
    rows = before.response_logits(["a", "a b"], [[8, 9], []], 2)
    assert [r.shape[0] for r in rows] == [2, 0]


def test_other_vocabularies_are_refused() -> None:
    before, after, _ = fakes.changed("llama")
    module.require_same_vocabulary(before, after)
    resident = before.resident
    same = LM(TransformersResident(resident.model, resident.tokenizer, "same"))
    module.require_same_vocabulary(before, same)
    other = LM(TransformersResident(resident.model, _Vocabulary(), "other"))
    with pytest.raises(UserError, match="different vocabularies"):
        module.require_same_vocabulary(before, other)


class _Vocabulary:
    def get_vocab(self) -> dict[str, int]:
        return {"a": 0}
