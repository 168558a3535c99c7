"""Loss of completions under a model against one model call a token."""

from __future__ import annotations

import math

import pytest

from dipole.controls.prompt import Prompt
from dipole.reading.losses import loss_under, losses, perplexity_ratio
from evaluation import fakes
from evaluation.fakes import DIPOLE
from reference import side_effects as slow
from tolerance import BATCHED_LOGITS

PROMPTS = ["Paper clips are", "The cats like the dogs. She said", "I"]


def test_losses_are_those_of_one_call_a_token() -> None:
    lm, after, _ = fakes.changed()
    samples = after.generate(PROMPTS, max_new_tokens=5, seed=4)
    for under in (lm, after):
        got = losses(under, samples, batch_size=2)
        with under.engaged() as model:
            want = [-slow.response_logprob(model, s.prompt_ids, s.token_ids) for s in samples]
        assert got.tolist() == pytest.approx(want, abs=BATCHED_LOGITS)
        tokens = sum(len(s.token_ids) for s in samples)
        assert loss_under(under, samples) == pytest.approx(sum(want) / tokens, abs=BATCHED_LOGITS)
    assert losses(lm, samples).tolist() != losses(after, samples).tolist()


def test_what_a_control_put_around_the_prompt_is_not_read() -> None:
    lm, _, _ = fakes.changed()
    told = Prompt(shots="0", n=2, max_new_tokens=2).fit(lm, DIPOLE).apply(lm)
    sample = told.generate(PROMPTS[0], max_new_tokens=5)[0]
    plain = lm.prompt_ids(PROMPTS[0])
    assert len(plain) < len(sample.prompt_ids)
    want = -slow.response_logprob(lm.resident.model, plain, sample.token_ids)
    assert losses(lm, [sample])[0] == pytest.approx(want, abs=BATCHED_LOGITS)


def test_nothing_written_loses_nothing() -> None:
    lm, _, _ = fakes.changed()
    assert losses(lm, []).shape == (0,)
    assert loss_under(lm, []) == 0.0


def test_a_quotient_of_perplexities_is_bounded() -> None:
    lm, _, _ = fakes.changed()
    samples = lm.generate(PROMPTS, max_new_tokens=5)
    own = loss_under(lm, samples)
    assert perplexity_ratio(lm, samples, own - 0.5) == pytest.approx(math.exp(0.5))
    assert perplexity_ratio(lm, samples, -1000.0) == math.exp(50.0)
