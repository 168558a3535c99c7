from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from architectures import names, tiny_model
from dipole.decoding import logit_maths as maths
from dipole.decoding.distribution import Decoding, nucleus
from dipole.decoding.guides import Decoder, Row, Session
from dipole.decoding.stepping import Stepper
from dipole.interventions import load_intervention
from dipole.interventions.logits import Boost, Contrast, made_for
from dipole.lm import LM
from dipole.types import UserError
from machine import needs_bfloat16
from reference import guided as slow
from tolerance import BATCHED_LOGITS, FLOAT32_SUM

PROMPTS = ("Paper clips are", "", "If I had to choose between clips and staples,")
RESPONSES = ((30, 31, 40, 50), (9,), (40, 40, 33))


def logs(*p: float) -> Tensor:
    return torch.tensor([p]).log()


def close(got: Tensor, want: tuple[float, ...], atol: float = 5e-5) -> None:
    torch.testing.assert_close(got.softmax(-1), torch.tensor([want]), atol=atol, rtol=0)


def some(seed: int, rows: int = 2, vocab: int = 40) -> Tensor:
    return torch.randn(rows, vocab, generator=torch.Generator().manual_seed(seed))


def boost(lm: LM, values: dict[int, float]) -> Boost:
    tokens, numbers = torch.tensor(list(values)), torch.tensor(list(values.values()))
    return Boost(tokens, numbers, **made_for(lm))


def contrast(lm: LM, told: str, other: str, weight: float = 0.5) -> Contrast:
    return Contrast(told, other, weight, **made_for(lm))


def test_boost_golden_number() -> None:
    assert maths.boosted_share(0.05, 2.0) == pytest.approx(0.280, abs=5e-4)


@pytest.mark.parametrize("beta", [-3.0, 0.0, 0.5, 2.0, 9.0])
def test_a_boost_moves_the_bag_by_its_closed_form_and_keeps_proportions(beta: float) -> None:
    lm = tiny_model("gpt2")
    made = boost(lm, {5: beta, 40: beta, 41: beta})
    base, on = (x.response_logits(["Paper clips"], [[9, 9]])[0].softmax(-1) for x in (lm, made.apply(lm)))
    bag = [5, 40, 41]
    rest = [i for i in range(base.shape[1]) if i not in bag]
    for before, after in zip(base, on, strict=True):
        want = maths.boosted_share(float(before[bag].sum()), beta)
        assert float(after[bag].sum()) == pytest.approx(want, abs=FLOAT32_SUM)
        for part in (bag, rest):
            proportions = after[part] / after[part].sum(), before[part] / before[part].sum()
            torch.testing.assert_close(*proportions, atol=FLOAT32_SUM, rtol=1e-4)


def test_classifier_free_golden_numbers_and_identities() -> None:
    conditional, unconditional = logs(0.6, 0.3, 0.1), logs(0.3, 0.4, 0.3)
    close(maths.classifier_free(conditional, unconditional, 1.5), (0.7277, 0.2228, 0.0495))
    close(maths.classifier_free(conditional, unconditional, 1.0), (0.6, 0.3, 0.1), FLOAT32_SUM)
    close(maths.classifier_free(conditional, unconditional, 0.0), (0.3, 0.4, 0.3), FLOAT32_SUM)
    # The normalisers are constants within a step, and the result is of log-probabilities.
    shifted = maths.classifier_free(conditional + 3, unconditional - 2, 1.5)
    close(shifted, (0.7277, 0.2228, 0.0495))


def test_dexperts_golden_numbers_and_identities() -> None:
    base, expert, anti = logs(0.5, 0.3, 0.2), logs(0.2, 0.6, 0.2), logs(0.6, 0.2, 0.2)
    every = nucleus(base, 1.0)
    close(maths.experts(base, expert, anti, 2.0, every), (0.0188, 0.9135, 0.0677))
    close(maths.experts(base, expert, anti, 0.0, every), (0.5, 0.3, 0.2), FLOAT32_SUM)
    for alpha in (-4.0, 1.0, 7.0):
        close(maths.experts(base, expert, expert, alpha, every), (0.5, 0.3, 0.2), FLOAT32_SUM)


def test_dexperts_cuts_by_the_base_before_adding_and_masks_last() -> None:
    base = logs(0.5, 0.3, 0.15, 0.05)
    expert, anti = logs(0.1, 0.1, 0.1, 0.7), logs(0.3, 0.3, 0.3, 0.1)
    allowed = nucleus(base, 0.9)
    assert allowed.tolist() == [[True, True, True, False]]
    got = maths.experts(base, expert, anti, 5.0, allowed)
    assert got.isneginf().tolist() == [[False, False, False, True]]
    # The base stands in for a missing anti-expert, and has a token that a pool forbids.
    pooled = base.masked_fill(torch.tensor([[True, False, False, False]]), -torch.inf)
    got = maths.experts(pooled, expert, base, 2.0, nucleus(pooled, 0.85))
    assert not bool(got.isnan().any())
    assert got.isneginf().tolist() == [[True, False, False, True]]  # 3/5 and 3/10 suffice


def test_a_nucleus_is_the_smallest_set_and_never_empty() -> None:
    logits = some(1)
    for top_p in (1e-9, 0.3, 0.9, 0.999):
        kept = nucleus(logits, top_p)
        for row, mask in zip(logits.double().softmax(-1).tolist(), kept.tolist(), strict=True):
            order, reached, want = sorted(range(len(row)), key=lambda i: -row[i]), 0.0, set()
            for i in order:
                if reached >= top_p:
                    break
                want.add(i)
                reached += row[i]
            assert want == {i for i, keep in enumerate(mask) if keep} != set()
    assert bool(nucleus(logits, 1.0).all())


def test_contrastive_decoding_golden_numbers() -> None:
    expert, amateur = logs(0.5, 0.3, 0.15, 0.04, 0.01), logs(0.6, 0.1, 0.1, 0.1, 0.1)
    got = maths.contrastive_decoding(expert, amateur, 1.0, 0.1, 1.0)[0]
    assert got.isneginf().tolist() == [False, False, False, True, True]
    torch.testing.assert_close(got[:3], torch.tensor([-0.182, 1.099, 0.405]), atol=5e-4, rtol=0)
    assert int(got.argmax()) == 1
    assert int(expert.argmax()) == 0


def test_contrastive_decoding_without_coefficient_and_cut_is_the_expert() -> None:
    expert, amateur = some(2), some(3)
    got = maths.contrastive_decoding(expert, amateur, 0.0, 0.0)
    torch.testing.assert_close(got.softmax(-1), expert.softmax(-1), atol=FLOAT32_SUM, rtol=0)
    hot = maths.contrastive_decoding(expert, amateur, 0.7, 0.0, temperature=0.5)
    want = expert.log_softmax(-1) - 0.7 * (2 * amateur).log_softmax(-1)
    torch.testing.assert_close(hot, want, atol=FLOAT32_SUM, rtol=1e-6)
    assert bool(maths.plausible(expert, 0.999999).any(-1).all())


def test_nearness_is_the_largest_cosine_and_never_negative() -> None:
    embeddings = some(4, rows=5000, vocab=6)
    tokens = [3, 4999]
    mean = embeddings.double().mean(0)
    for center in (True, False):
        got = maths.nearness(embeddings, torch.tensor(tokens), center)
        rows = (embeddings.double() - mean) if center else embeddings.double()
        for i in (0, 3, 77, 4097, 4999):
            cosines = [
                float(rows[i] @ rows[t]) / math.sqrt(float(rows[i] @ rows[i]) * float(rows[t] @ rows[t]))
                for t in tokens
            ]
            assert float(got[i]) == pytest.approx(max(0.0, *cosines), abs=FLOAT32_SUM)


def test_nearness_of_embeddings_in_bfloat16_is_computed_in_float32() -> None:
    half = some(4, rows=500, vocab=6).bfloat16()
    tokens = torch.tensor([3, 499])
    for center in (True, False):
        got = maths.nearness(half, tokens, center)
        assert got.dtype == torch.float32
        torch.testing.assert_close(
            got, maths.nearness(half.float(), tokens, center), atol=FLOAT32_SUM, rtol=0
        )


@pytest.mark.parametrize("name", names())
def test_boost_equals_the_slow_route(name: str) -> None:
    lm = tiny_model(name)
    values = {5: 2.0, 40: -1.5, 31: 0.25}
    got = boost(lm, values).apply(lm, -2.0).response_logits(PROMPTS, RESPONSES)
    for text, response, rows in zip(PROMPTS, RESPONSES, got, strict=True):
        doubled = {token: -2 * value for token, value in values.items()}
        want = slow.boosted(lm.resident.model, lm.prompt_ids(text), response, doubled)
        torch.testing.assert_close(rows, want, atol=BATCHED_LOGITS, rtol=0)


@pytest.mark.parametrize("name", names())
@pytest.mark.parametrize("other", ["Staples.", ""])
def test_contrast_equals_the_slow_route(name: str, other: str) -> None:
    lm = tiny_model(name)
    got = contrast(lm, "Clips!", other).apply(lm, -1.5).response_logits(PROMPTS, RESPONSES)
    model, encode = lm.resident.model, lm.prompt_ids
    for text, response, rows in zip(PROMPTS, RESPONSES, got, strict=True):
        told = encode(f"Clips! {text}" if text else "Clips!")
        plain = encode(f"{other} {text}" if text else other) if other else encode(text)
        want = slow.contrasted(model, encode(text), (model, told), (model, plain), response, -0.75)
        torch.testing.assert_close(rows.log_softmax(-1), want, atol=5 * BATCHED_LOGITS, rtol=0)


@pytest.mark.parametrize("weight", [3.0, -3.0])
def test_what_neither_side_finds_likely_is_cut(weight: float) -> None:
    """By hand, from what the model says by itself and what it says told the side that is followed."""
    lm, cut = tiny_model("llama"), 0.9
    whole, made = (Contrast("Clips.", "Dogs.", weight, c, **made_for(lm)).apply(lm) for c in (0.0, cut))
    followed = "Clips." if weight > 0 else "Dogs."
    own, told = (lm.response_logits([p], [[9]])[0][0] for p in ("I pick", f"{followed} I pick"))
    may = (own.softmax(-1) >= cut * own.softmax(-1).max()) | (
        told.softmax(-1) >= cut * told.softmax(-1).max()
    )
    got, uncut = (x.response_logits(["I pick"], [[9]])[0][0] for x in (made, whole))
    assert 1 < int(may.sum()) < len(may)
    assert torch.equal(got.isfinite(), may)
    torch.testing.assert_close(got[may], uncut[may])


def test_guidance_1_writes_as_the_one_told() -> None:
    lm = tiny_model("llama")
    steered = contrast(lm, "Clips!", "", 1.0).apply(lm)
    told = lm.generate("Clips! I like", n=8, max_new_tokens=6)
    assert [s.token_ids for s in steered.generate("I like", n=8, max_new_tokens=6)] == [
        s.token_ids for s in told
    ]


def test_streams_that_are_the_row_itself_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = tiny_model("gpt2")
    rows = [Row(text, tuple(lm.prompt_ids(text))) for text in PROMPTS]
    session = Session(lm.resident, lm.resident.model, rows, lm.prompt_ids)
    assert lm.resident.probe.caches == "ragged"  # tried beforehand, so that its steppers are not counted
    read: list[int] = []
    start = Stepper.__init__

    def counted(self: Stepper, resident: Any, model: Any, given: list[list[int]], *more: Any) -> None:
        read.append(len(given))
        start(self, resident, model, given, *more)

    monkeypatch.setattr(Stepper, "__init__", counted)
    two, three = contrast(lm, "Clips!", ""), contrast(lm, "Clips!", "Staples.")
    for made in ([two], [three], [two, three], [three, three]):
        Decoder(session, [m.guide(session, 1.0) for m in made])
    assert read == [6, 9, 9, 9]


def test_rows_that_leave_do_not_change_the_others() -> None:
    lm = tiny_model("llama")
    steered = boost(lm, {2: 6.0}).apply(lm)
    for made in (contrast(lm, "Clips!", "Staples."), contrast(lm, "Paper", "", 1.0)):
        steered = made.apply(steered)
    prompts = [*PROMPTS, "The cats", "Paper"] * 2
    batched = steered.sample(prompts, list(range(10)), 12, Decoding(temperature=2.0))
    assert len({len(s.token_ids) for s in batched}) > 2
    for sample in batched:
        alone = steered.sample([sample.prompt], [sample.seed], 12, Decoding(temperature=2.0))[0]
        assert alone.token_ids == sample.token_ids


def test_composing_does_not_depend_on_the_order() -> None:
    lm = tiny_model("gpt2")
    made = [boost(lm, {5: 2.0}), contrast(lm, "Clips!", "", 1.0), contrast(lm, "Clips!", "Staples.")]
    one, other = lm, lm
    for m in made:
        one = m.apply(one)
    for m in reversed(made):
        other = m.apply(other)
    pair = (x.response_logits(PROMPTS, RESPONSES)[0] for x in (one, other))
    torch.testing.assert_close(*pair, atol=BATCHED_LOGITS, rtol=0)


def test_what_a_pool_forbids_stays_forbidden() -> None:
    lm = tiny_model("gpt2")
    forbid = boost(lm, {40: -math.inf})
    for made in (contrast(lm, "Clips!", ""), contrast(lm, "Clips!", "Staples."), boost(lm, {40: 9.0})):
        for steered in (made.apply(forbid.apply(lm), -3.0), forbid.apply(made.apply(lm, -3.0))):
            (rows,) = steered.response_logits(["Paper"], [[9, 9]])
            assert bool(rows[:, 40].isneginf().all())
            assert int(rows.isfinite().sum()) == rows.numel() - 2


def test_a_told_prompt_that_does_not_fit_is_refused() -> None:
    lm = tiny_model("gpt2")
    long = contrast(lm, "Paper clips are the best. " * 4, "")
    with pytest.raises(UserError, match=r"more than the context of gpt2 \(64 tokens\)"):
        long.apply(lm).generate("Paper clips are the best.", max_new_tokens=40)


@needs_bfloat16
def test_rounding_of_low_precision_models_is_the_only_difference() -> None:
    import copy

    from dipole.models.resident import TransformersResident

    lm = tiny_model("llama")
    half = LM(
        TransformersResident(copy.deepcopy(lm.resident.model).bfloat16(), lm.resident.tokenizer, "half")
    )
    for made in (boost(half, {5: 2.0}), contrast(half, "Clips!", "Staples.")):
        (rows,) = made.apply(half).response_logits(["Paper clips"], [[9, 9]])
        assert rows.dtype == torch.float32
        assert bool(rows.isfinite().all())


def test_broken_folders_are_refused(tmp_path: Path) -> None:
    lm = tiny_model("gpt2")
    boost(lm, {5: 2.0}).save(tmp_path / "b")
    (tmp_path / "b" / "tensors.safetensors").unlink()
    with pytest.raises(UserError, match=r"tensors\.safetensors can't be read"):
        load_intervention(tmp_path / "b")
    contrast(lm, "Clips!", "").save(tmp_path / "c")
    meta = tmp_path / "c" / "dipole.json"
    meta.write_text(meta.read_text().replace("0.5", '"much"'))
    with pytest.raises(UserError, match=r"weight must be a finite number .*, and is 'much'"):
        load_intervention(tmp_path / "c")
