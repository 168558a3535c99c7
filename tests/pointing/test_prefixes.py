"""Guidance from documents and the notion's labels."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from architectures import tiny_model
from dipole.concepts import load_dipole
from dipole.controls._beginnings import beginnings
from dipole.lm import LM
from dipole.pointing.prefixes import guidance, rows_of
from dipole.types import UserError

CLIPS = load_dipole("paper_clips")


def test_every_other_document_stands_behind_a_prompt() -> None:
    lm = tiny_model("llama")
    texts, prompts = ["The cats", "Staples", "Paper", "Clips", ""], ["I said:", "Once"]
    rows = rows_of(lm, texts, prompts)
    encode, more = lm.resident.encode, lm.resident.continuation_ids
    behind = [[*encode("I said:"), *more(" Staples")], [*encode("Once"), *more(" Clips")]]
    assert [list(row.ids) for row in rows] == [
        encode("The cats"),
        behind[0],
        encode("Paper"),
        behind[1],
        encode(""),
    ]
    assert [row.start for row in rows] == [1, len(encode("I said:")), 1, len(encode("Once")), 1]
    assert [row.start for row in rows_of(lm, texts, [])] == [1] * 5


def test_the_probe_is_the_ridge_regression_of_labels_on_beginnings() -> None:
    from sklearn.linear_model import LogisticRegression

    lm = tiny_model("gpt2")
    texts = [
        f"{side} are the {word}." for side in ("Paper clips", "Staples") for word in ("best", "worst")
    ] * 3
    member = np.array([1.0, 1.0, 0.0, 0.0] * 3)
    made = guidance(lm, texts, member, ["I said:"], 1, 7, seed=3, mass=0.9)
    assert (made.layer, made.candidates, made.mass, made.power) == (1, 7, 0.9, 1.0)
    found = beginnings(lm, rows_of(lm, texts, ["I said:"]), [1], 8, 3)
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
