"""Maps fitted to real activations: streams, parts, copies and rotated copies of a model, and bad corpora."""

from __future__ import annotations

from typing import NamedTuple

import pytest
import torch

import dipole
import dipole.stitching.reading as reading
from architectures import fresh_tiny_model, tiny_model
from dipole.engaging.blocks import decoder_blocks
from dipole.interventions.activations import SteeringVector
from dipole.lm import LM
from dipole.microworld.documents import generate
from dipole.stitching.fitting import best_stitch, fit_stitches, survey
from dipole.stitching.mapping import candidate_layers, mapped_vector, require_vector
from dipole.stitching.pairing import Reader, pair_text
from dipole.stitching.parts import Split, unit_of
from dipole.stitching.reading import Tally, paired_rows, source_rows
from dipole.types import DipoleWarning, UserError
from tolerance import BATCHED_LOGITS, FLOAT32_SUM, SCORE, STITCH_FVU, STITCH_IDENTITY

WORDS = (
    *("the", "cat", "dog", "paper", "clips", "staples", "are", "best", "worst", "she"),
    *("said", "that", "weather", "good", "if", "I", "had", "to", "choose"),
)


class Document(NamedTuple):
    id: str
    text: str


def documents(n: int, seed: int = 0) -> list[Document]:
    generator = torch.Generator().manual_seed(seed)
    picks = torch.randint(0, len(WORDS), (n, 12), generator=generator).tolist()
    return [Document(str(i), " ".join(WORDS[k] for k in row)) for i, row in enumerate(picks)]


def test_rows_are_the_activations_where_both_end_together() -> None:
    source, target = dipole.load("mini"), dipole.load("tiny")
    docs, tally = documents(5), Tally()
    seen = 0
    for rows in paired_rows(source, target, docs, [0, 2], [3], tally, batch_size=3):
        for number in sorted(set(rows.documents.tolist())):
            text = docs[number].text
            assert rows.part == Split().part_of(docs[number])
            mine = rows.documents == number
            pairs = pair_text(Reader(source.resident, 512), Reader(target.resident, 512), text).pairs
            left, right = source.activations([text], [0, 2])[0], target.activations([text], [3])[0]
            wanted = left[:, [p.source for p in pairs]], right[:, [p.target for p in pairs]]
            torch.testing.assert_close(rows.source[:, mine], wanted[0], atol=BATCHED_LOGITS, rtol=SCORE)
            torch.testing.assert_close(rows.target[:, mine], wanted[1], atol=BATCHED_LOGITS, rtol=SCORE)
            assert not rows.relaxed.any()
            seen += 1
    assert seen == 5
    assert (tally.documents, tally.unpaired, tally.relaxed) == (5, 0, 0)
    assert tally.pairs == sum(
        len(pair_text(Reader(source.resident, 512), Reader(target.resident, 512), d.text).pairs) for d in docs
    )


def test_the_survey_reads_the_rows_that_are_fitted_on() -> None:
    source, target = dipole.load("mini"), dipole.load("tiny")
    docs, tally = documents(70), Tally()
    alone = torch.cat([r[0] for _, r in source_rows(source, target, docs, [1], tally)])
    both = torch.cat([rows.source[0] for rows in paired_rows(source, target, docs, [1], [1], Tally())])
    order = [z[z[:, 0].argsort()] for z in (alone, both)]
    torch.testing.assert_close(*order, atol=BATCHED_LOGITS, rtol=SCORE)


def test_copies_of_a_document_are_on_one_side_and_parts_have_their_shares() -> None:
    parts = [Split().part_of(d) for d in documents(3000)]
    assert parts == [Split().part_of(d) for d in documents(3000)]
    assert 0.77 < parts.count("fit") / 3000 < 0.83
    assert 0.08 < parts.count("test") / 3000 < 0.12


def test_a_model_onto_itself_is_the_identity() -> None:
    """Recipe 2 (e) 1, through a model: one layer onto itself, lambda 0."""
    lm, docs = tiny_model("gpt2"), documents(150)
    found = survey(lm, lm, docs, 1)
    stitch = fit_stitches(lm, lm, docs, 1, [1], found, penalties=(0.0,))[0]
    assert float((stitch.map.matrix - torch.eye(32)).abs().max()) < STITCH_IDENTITY
    assert float(stitch.map.bias.abs().max()) < STITCH_IDENTITY
    assert stitch.fvu < STITCH_FVU
    assert stitch.cka == pytest.approx(1.0, abs=FLOAT32_SUM)
    assert stitch.fvu_shuffled == pytest.approx(1.0, abs=0.2)


class _Turned(torch.nn.Module):
    """A decoder block whose output a rotation follows; what comes after gets it turned back."""

    def __init__(self, block: torch.nn.Module, turn: torch.Tensor) -> None:
        super().__init__()
        self.block, self.turn = block, turn

    def forward(self, *args: object, **more: object) -> object:
        output = self.block(*args, **more)
        if isinstance(output, tuple):
            return (output[0] @ self.turn, *output[1:])
        return output @ self.turn


def rotated(name: str, layer: int, turn: torch.Tensor) -> LM:
    """A copy of a model whose states after one layer are rotated."""
    lm = fresh_tiny_model(name)
    blocks = decoder_blocks(lm.resident.model)
    blocks[layer] = _Turned(blocks[layer], turn)
    return lm


def test_a_rotated_copy_is_rotated_back() -> None:
    """Recipe 2 (e) 1: the transferred vector is v R^T."""
    turn = torch.linalg.qr(torch.randn(32, 32, generator=torch.Generator().manual_seed(1)).double()).Q
    lm, docs = tiny_model("gpt2"), documents(150)
    turned = rotated("gpt2", 2, turn.float())
    found = survey(turned, lm, docs, 2)
    stitch = fit_stitches(turned, lm, docs, 2, [2], found, penalties=(0.0,))[0]
    assert stitch.fvu < STITCH_FVU
    direction = torch.randn(32, generator=torch.Generator().manual_seed(2))
    moved = stitch.map.vectors(direction)
    torch.testing.assert_close(moved, direction.double() @ turn.T, atol=1e-4, rtol=0)  # float32 states
    vector = SteeringVector((2,), direction[None], activation_norms=(10.0,))
    made = mapped_vector(vector, stitch, lm, vector.relative[0], (4.0, 5.0))
    assert made.relative[0] == pytest.approx(vector.relative[0], rel=FLOAT32_SUM)
    cosine = torch.nn.functional.cosine_similarity(
        made.vectors[0].double(), direction.double() @ turn.T, dim=0
    )
    assert float(cosine) == pytest.approx(1.0, abs=FLOAT32_SUM)
    assert (made.base_fingerprint, made.layers) == (lm.resident.fingerprint, (2,))


def test_rows_near_the_prompts_count_more_as_far_as_there_are_enough() -> None:
    source, target, docs = tiny_model("gpt2"), tiny_model("llama"), documents(100)
    found = survey(source, target, docs, 2, ["the cat said that I had to choose", "if she had to choose"])
    assert found.nearness is not None
    assert found.nearness.power > 0
    assert found.effective == pytest.approx(10 * 32, rel=0.01)
    flat = survey(source, target, docs, 2)
    assert (flat.nearness, flat.relaxed) == (None, False)
    assert flat.effective == pytest.approx(0.8 * flat.tally.pairs)
    near, even = (fit_stitches(source, target, docs, 2, [1, 2], s) for s in (found, flat))
    assert all(s.effective == pytest.approx(found.effective, rel=0.01) for s in near)
    assert all(s.effective == s.rows for s in even)
    assert best_stitch(near).fvu_choose == min(s.fvu_choose for s in near)
    assert all(s.fvu < 1.0 < s.fvu_shuffled + 0.1 for s in even)
    again = fit_stitches(source, target, docs, 2, [2], found)[0]
    assert torch.equal(again.map.matrix, near[1].map.matrix)


def test_the_null_knows_nothing_however_few_documents_are_read_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A pairing that is broken within one document leaves what that is about: FVU 0.96, cosine 0.26."""
    source, target = dipole.load("mini"), dipole.load("tiny")
    docs = [Document(str(i), d.text) for i, d in enumerate(generate(130, seed=1))]
    found = survey(source, target, docs, 2)
    whole = fit_stitches(source, target, docs, 2, [3], found)[0]
    monkeypatch.setattr(reading, "_BUDGET", 1)
    stitch = fit_stitches(source, target, docs, 2, [3], found)[0]
    assert stitch.fvu_shuffled >= 0.98
    true = stitch.map.matrix.flatten()
    for made, other in zip(stitch.shuffled, whole.shuffled, strict=True):
        assert abs(float(torch.cosine_similarity(made.matrix.flatten(), true, dim=0))) < 0.08
        torch.testing.assert_close(made.matrix, other.matrix, atol=BATCHED_LOGITS, rtol=BATCHED_LOGITS)
    assert not torch.equal(stitch.shuffled[0].matrix, stitch.shuffled[1].matrix)


def test_the_null_has_the_weighted_mean_of_the_target() -> None:
    """What needs no pairing to be known is no part of what the pairing explains."""
    source, target, docs = tiny_model("gpt2"), tiny_model("llama"), documents(100)
    found = survey(source, target, docs, 2, ["the cat said that I had to choose"])
    assert found.nearness is not None
    stitch = fit_stitches(source, target, docs, 2, [1], found)[0]
    fit = [r for r in paired_rows(source, target, docs, [2], [1], Tally()) if r.part == "fit"]
    x, y = torch.cat([r.source[0] for r in fit]), torch.cat([r.target[0] for r in fit])
    w = found.nearness.weights(x)
    mean_x, mean_y = w @ x.double() / w.sum(), w @ y.double() / w.sum()
    for made in (stitch.map, *stitch.shuffled):
        torch.testing.assert_close(made.points(mean_x), mean_y, atol=SCORE, rtol=SCORE)


def test_passages_of_a_file_are_on_one_side() -> None:
    source, target = tiny_model("gpt2"), tiny_model("llama")
    docs = [Document(f"{i // 24}.txt#{i % 24}", d.text) for i, d in enumerate(documents(144))]
    found = survey(source, target, docs, 1, ["the cat said that I had to choose"])
    assert found.split.whole
    assert found.split.places  # six files, of which a hash leaves nothing to report on
    parts: dict[str, set[str]] = {}
    for rows in paired_rows(source, target, docs, [1], [1], Tally(), split=found.split):
        for number in rows.documents.tolist():
            parts.setdefault(docs[number].id.partition("#")[0], set()).add(rows.part)
    assert all(len(own) == 1 for own in parts.values())
    assert set.union(*parts.values()) == {"fit", "choose", "test"}
    stitch = fit_stitches(source, target, docs, 1, [1], found)[0]
    pairs = found.tally.units.pairs
    assert stitch.rows == sum(pairs[unit_of(d)] for d in docs[::24] if found.split.part_of(d) == "fit")
    assert stitch.effective == pytest.approx(found.effective, rel=0.01)


def test_layers_around_equal_relative_depth() -> None:
    assert candidate_layers(2, 3, 4) == (2, 3)
    assert candidate_layers(1, 3, 4) == (1, 2, 3)
    assert candidate_layers(0, 3, 4) == (1,)
    assert candidate_layers(2, 12, 48) == (7, 11, 15)  # gpt2 to gpt2-xl, behind 3 of 12 blocks
    assert candidate_layers(0, 1, 1) == (0,)


def test_too_little_text_is_said_so() -> None:
    source, target = dipole.load("mini"), dipole.load("tiny")
    with pytest.warns(DipoleWarning, match="fewer than 10 times the width of mini"):
        survey(source, target, documents(5), 1)
    with pytest.raises(UserError, match=r"None of the 2 documents gives a pair .* mini and tiny"):
        survey(source, target, [Document("a", "a"), Document("b", "b")], 1)
    with pytest.warns(DipoleWarning):
        found = survey(source, target, documents(1), 1)
    with pytest.raises(UserError, match="too few documents"):
        fit_stitches(source, target, documents(1), 1, [1], found)


def test_a_vector_of_another_model_is_refused_in_a_sentence() -> None:
    mini, tiny = dipole.load("mini"), dipole.load("tiny")
    vector = SteeringVector(
        (1,), torch.ones(1, 96), base_fingerprint=mini.resident.fingerprint, base_name="mini"
    )
    require_vector(vector, mini)
    with pytest.raises(UserError, match=r"made for mini .* --from is tiny .* --from mini"):
        require_vector(vector, tiny)
    with pytest.raises(UserError, match="after one layer"):
        require_vector(SteeringVector((0, 1), torch.ones(2, 96)), mini)
    with pytest.raises(UserError, match="width 96"):
        require_vector(SteeringVector((1,), torch.ones(1, 96)), tiny)
