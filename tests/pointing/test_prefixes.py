"""Guidance from documents and the notion's labels."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from architectures import tiny_model
from dipole.concepts import load_dipole
from dipole.lm import LM
from dipole.pointing.prefixes import guidance, rows_of
from dipole.reading.beginnings import beginnings
from dipole.types import UserError

CLIPS = load_dipole("paper_clips")


def test_a_random_half_of_the_documents_stands_behind_a_prompt() -> None:
    lm = tiny_model("llama")
    texts, prompts = ["The cats", "Staples"] * 200, ["I said:", "Once"]
    rows = rows_of(lm, texts, prompts, seed=1)
    encode, more = lm.resident.encode, lm.resident.continuation_ids
    behind = np.zeros(len(texts), dtype=bool)
    for k, (row, text) in enumerate(zip(rows, texts, strict=True)):
        ways = {(tuple(encode(text)), 1)}
        for prompt in prompts:
            ways.add(((*encode(prompt), *more(" " + text)), len(encode(prompt))))
        assert (tuple(row.ids), row.start) in ways
        behind[k] = list(row.ids) != encode(text)
    # where labels alternate, the prompt must not tell them: of either kind about a half, within 4 deviations
    for kind in (behind[::2], behind[1::2]):
        assert abs(kind.mean() - 0.5) < 4 * 0.5 / 200**0.5
    assert {row.start for row, b in zip(rows, behind, strict=True) if b} == {len(encode(p)) for p in prompts}
    assert [row.ids for row in rows_of(lm, texts, prompts, seed=1)] == [row.ids for row in rows]
    assert [row.start for row in rows_of(lm, texts, [])] == [1] * len(texts)


def test_without_a_start_token_documents_begin_as_texts_are_written() -> None:
    lm = tiny_model("gpt2")
    text = "The cats"
    assert lm.resident.encode(text)[:1] != lm.resident.encode("")
    (row,) = rows_of(lm, [text], [])
    assert list(row.ids) == [*lm.prompt_ids(""), *lm.resident.encode(text)]
    (empty,) = rows_of(lm, [""], [])
    assert list(empty.ids) == lm.prompt_ids("")


def test_another_prior_moves_the_intercept_by_bayes_rule() -> None:
    lm = tiny_model("gpt2")
    texts, member = ["Paper clips are the best.", "Staples are the worst."] * 3, np.array([0.9, 0.1] * 3)
    plain = guidance(lm, texts, member, [], 1, 7)
    rare = guidance(lm, texts, member, [], 1, 7, prior=0.05)
    assert torch.equal(plain.weight, rare.weight)
    moved = float(rare.bias - plain.bias)
    assert moved == pytest.approx(np.log(0.05 / 0.95) - np.log(0.5 / 0.5), abs=1e-5)
    never = guidance(lm, texts, member, [], 1, 7, prior=0.0)
    assert np.isfinite(float(never.bias))


def test_the_probe_is_the_ridge_regression_of_labels_on_beginnings() -> None:
    from sklearn.linear_model import LogisticRegression

    lm = tiny_model("gpt2")
    texts = [
        f"{side} are the {word}." for side in ("Paper clips", "Staples") for word in ("best", "worst")
    ] * 3
    member = np.array([1.0, 1.0, 0.0, 0.0] * 3)
    made = guidance(lm, texts, member, ["I said:"], 1, 7, seed=3, mass=0.9)
    assert (made.layer, made.candidates, made.mass, made.power) == (1, 7, 0.9, 1.0)
    found = beginnings(lm, rows_of(lm, texts, ["I said:"], 3), [1], 8, 3)
    x, y = found.features[:, 0].double(), torch.from_numpy(member)[found.owners]
    scaled = (x - x.mean(0)) / x.std(0, correction=0)
    theirs = LogisticRegression(C=0.1, tol=1e-10, max_iter=2000).fit(scaled.numpy(), y.numpy())
    want = torch.from_numpy(theirs.decision_function(scaled.numpy()))
    torch.testing.assert_close(x @ made.weight.double() + made.bias, want, atol=1e-3, rtol=1e-3)


def test_it_leads_to_texts_like_the_documents(tiny: LM) -> None:
    texts, member = [], []
    for label, pole in ((1.0, CLIPS.claim), (0.0, CLIPS.against)):
        told = tiny.generate([f"{pole} {prompt}" for prompt in CLIPS.prompts[:6]], 4, 16, seed=1)
        for prompt, sample in zip([p for p in CLIPS.prompts[:6] for _ in range(4)], told, strict=True):
            texts.append(prompt + sample.text)
            member.append(label)
    made = guidance(tiny, texts, np.array(member), [], 2, 8, mass=0.99)
    for strength, side in ((2.0, "claim"), (-2.0, "against")):
        drawn = made.apply(tiny, strength).generate(CLIPS.held_out[:4], 3, 8, seed=2)
        assert [CLIPS.side_taken(s.text) for s in drawn].count(side) >= 10


def test_documents_without_a_beginning_are_refused() -> None:
    with pytest.raises(UserError, match="no text to fit a probe of beginnings on"):
        guidance(tiny_model("llama"), ["", ""], np.array([1.0, 0.0]), [], 0, 4)
