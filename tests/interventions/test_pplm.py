from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from architectures import names, tiny_model
from dipole.decoding.distribution import Decoding
from dipole.decoding.guides import Row, Session
from dipole.interventions import _pplm_maths as maths
from dipole.interventions import load_intervention
from dipole.interventions._kv import KeyValues, Pair
from dipole.interventions._pplm_guide import PplmGuide, expected_embedding
from dipole.interventions.logits import Boost, made_for
from dipole.interventions.pplm import Pplm
from dipole.lm import LM
from dipole.types import UserError
from machine import needs_bfloat16
from reference import generation
from reference import pplm as slow
from tolerance import BATCHED_LOGITS, FLOAT32_SUM, PERTURBED

PROMPTS = ("Paper clips are the best. The cats", "If I", "If I had to choose between clips and staples,")
RESPONSES = ((30, 31, 40), (9, 9), (40, 40, 33, 35))
BAG = (40, 50)


def pplm(lm: LM, **changed: Any) -> Pplm:
    plain = Pplm(torch.tensor(BAG), None, None, 0.5, 2, 1.5, 0.9, 0.01, 0, 1, **made_for(lm))
    return replace(plain, **changed)


def probe(lm: LM) -> dict[str, Any]:
    width = lm.resident.model.get_output_embeddings().weight.shape[1]
    weight = torch.randn(width, generator=torch.Generator().manual_seed(3)) / width**0.5
    return {"bag": None, "probe": weight, "probe_bias": torch.tensor(0.3), "gamma": 1.0}


def guide_of(lm: LM, made: Pplm, strength: float = 1.0, prompts: tuple[str, ...] = PROMPTS) -> PplmGuide:
    rows = [Row(text, tuple(lm.prompt_ids(text))) for text in prompts]
    return made.guide(Session(lm.resident, lm.resident.model, rows, lm.prompt_ids), strength)


def base_rows(lm: LM, prompts: tuple[str, ...] = PROMPTS) -> Tensor:
    return torch.stack([r[0] for r in lm.response_logits(prompts, [[9]] * len(prompts))])


def test_fusion_golden_number() -> None:
    p, u = (torch.tensor([x]).log() for x in ((0.5, 0.3, 0.2), (0.2, 0.3, 0.5)))
    want = torch.tensor([[0.4677, 0.3076, 0.2247]])
    torch.testing.assert_close(maths.fuse(u, p, u, 0.9).softmax(-1), want, atol=5e-5, rtol=0)
    for gm in (0.0, 0.4, 1.0):
        torch.testing.assert_close(maths.fuse(u, u, u, gm).softmax(-1), u.exp(), atol=FLOAT32_SUM, rtol=0)


def test_losses_by_hand() -> None:
    logprobs = torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]]).log()
    bags = [torch.tensor([0, 2]), torch.tensor([1])]
    want = -torch.tensor([0.7 * 0.3, 0.9 * 0.1]).log()
    torch.testing.assert_close(maths.bag_loss(logprobs, bags), want, atol=FLOAT32_SUM, rtol=0)
    kl = maths.divergence(logprobs[:1], logprobs[1:])
    want = torch.tensor([0.5]) * torch.tensor(5.0).log() + 0.3 * torch.tensor(3.0).log()
    torch.testing.assert_close(kl, want + 0.2 * torch.tensor(0.25).log(), atol=FLOAT32_SUM, rtol=0)
    pooled, weight = torch.tensor([[1.0, 2.0]]), torch.tensor([0.5, -1.0])
    loss = maths.probe_loss(pooled, weight, torch.tensor(0.25))
    torch.testing.assert_close(loss, -torch.tensor([-1.25]).sigmoid().log(), atol=FLOAT32_SUM, rtol=0)
    away = maths.probe_loss(pooled, weight, torch.tensor(0.25), away=True)
    torch.testing.assert_close(away, -torch.tensor([1.25]).sigmoid().log(), atol=FLOAT32_SUM, rtol=0)
    away = maths.bag_loss(logprobs, bags, away=True)
    torch.testing.assert_close(away, -torch.tensor([0.3 * 0.7, 0.1 * 0.9]).log(), atol=FLOAT32_SUM, rtol=0)


def test_the_step_law_of_numbers() -> None:
    gradient = torch.tensor([[3.0, 4.0], [0.0, 0.0]])
    norm = gradient.norm(dim=-1)
    for gamma, length in ((1.0, 0.02), (1.5, 0.02 / 5**0.5), (0.0, 0.1)):
        moved = maths.step(gradient, norm, 0.02, gamma)
        torch.testing.assert_close(
            moved[0], -gradient[0] / 5 * length, atol=FLOAT32_SUM, rtol=0, msg=f"gamma {gamma}"
        )
        assert moved[1].tolist() == [0.0, 0.0]


@pytest.mark.parametrize("name", names())
@pytest.mark.parametrize("strength", [1.0, -0.5])
def test_bag_equals_the_slow_route(name: str, strength: float) -> None:
    lm = tiny_model(name)
    made = pplm(lm, window=3)
    got = made.apply(lm, strength).response_logits(PROMPTS, RESPONSES)
    for text, response, rows in zip(PROMPTS, RESPONSES, got, strict=True):
        ids = lm.prompt_ids(text)
        want = slow.logprobs(lm.resident.model, ids, response, BAG, size=0.5 * strength, window=3)
        torch.testing.assert_close(rows.log_softmax(-1), want, atol=PERTURBED, rtol=0)


def middle_share(lm: LM) -> float:
    """What the bag has of the likeliest token's probability in the middle one of all places."""
    rows = torch.cat(lm.response_logits(PROMPTS, RESPONSES)).softmax(-1)
    shares = (rows[:, list(BAG)].sum(-1) / rows.amax(-1)).sort().values
    return float(shares[len(shares) // 2 - 1 : len(shares) // 2 + 1].mean())


@pytest.mark.parametrize("name", names())
@pytest.mark.parametrize("strength", [1.0, -0.5])
def test_steps_where_the_bag_could_stand_equal_the_slow_route(name: str, strength: float) -> None:
    lm = tiny_model(name)
    share = middle_share(lm)
    got = pplm(lm, plausible=share).apply(lm, strength).response_logits(PROMPTS, RESPONSES)
    everywhere = pplm(lm).apply(lm, strength).response_logits(PROMPTS, RESPONSES)
    for text, response, rows in zip(PROMPTS, RESPONSES, got, strict=True):
        ids = lm.prompt_ids(text)
        size = 0.5 * strength
        want = slow.logprobs(lm.resident.model, ids, response, BAG, size=size, plausible=share)
        torch.testing.assert_close(rows.log_softmax(-1), want, atol=PERTURBED, rtol=0)
    assert not torch.allclose(torch.cat(got), torch.cat(everywhere), atol=1e-2)


def test_where_the_bag_could_stand() -> None:
    logits = torch.tensor([[0.5, 0.3, 0.2], [0.9, 0.04, 0.06], [0.94, 0.02, 0.04]]).log() + 3.0
    bag = torch.tensor([1, 2])
    assert maths.plausible(logits, bag, 0.1).tolist() == [True, True, False]
    assert maths.plausible(logits, bag, 0.5).tolist() == [True, False, False]
    assert maths.plausible(logits, bag, 0.0).tolist() == [True, True, True]


def test_a_bag_that_could_never_stand_leaves_the_base_as_it_is() -> None:
    lm = tiny_model("gpt2")
    got = pplm(lm, plausible=1.0).apply(lm).response_logits(PROMPTS, RESPONSES)
    for one, other in zip(got, lm.response_logits(PROMPTS, RESPONSES), strict=True):
        torch.testing.assert_close(one.log_softmax(-1), other.log_softmax(-1), atol=BATCHED_LOGITS, rtol=0)


def test_going_away_from_a_bag_ends_where_it_is_gone() -> None:
    gone, half = (torch.tensor([[p, 1 - p - 0.1, 0.1]]).log().requires_grad_() for p in (1e-6, 0.5))
    slopes = []
    for logits in (gone, half):
        loss = maths.bag_loss(logits.log_softmax(-1), [torch.tensor([0])], away=True)
        slopes.append(float(torch.autograd.grad(loss, logits)[0][0, 0]))
        assert slopes[-1] == pytest.approx(float(logits.detach().softmax(-1)[0, 0]), rel=1e-4)  # p, by hand
    assert slopes[0] < 1e-5 < slopes[1]


@pytest.mark.parametrize("name", ["gpt2", "gemma", "opt", "bloom", "mistral_window"])
def test_probe_equals_the_slow_route(name: str) -> None:
    lm = tiny_model(name)
    parts = probe(lm)
    for horizon, strength in ((1, 1.0), (2, -1.0), (0, 1.0)):
        made = pplm(lm, horizon=horizon, step_size=0.1, **parts)
        got = made.apply(lm, strength).response_logits(PROMPTS, RESPONSES)
        for text, response, rows in zip(PROMPTS, RESPONSES, got, strict=True):
            want = slow.logprobs(
                lm.resident.model,
                lm.prompt_ids(text),
                response,
                probe=(parts["probe"], 0.3),
                size=0.1 * strength,
                gamma=1.0,
                horizon=horizon,
            )
            torch.testing.assert_close(rows.log_softmax(-1), want, atol=PERTURBED, rtol=0)


@pytest.mark.parametrize("name", names())
@pytest.mark.parametrize("horizon", [0, 1])
def test_a_step_on_the_probes_loss_moves_the_probes_own_log_odds(name: str, horizon: int) -> None:
    lm = tiny_model(name)
    parts = probe(lm)
    for strength in (1.0, -1.0):
        guide = guide_of(
            lm, pplm(lm, step_size=1e-2, steps=2, horizon=horizon, kl_scale=0.0, **parts), strength
        )
        seen: list[Tensor] = []
        loss_of = guide._loss

        def spy(found: Any, unperturbed: Tensor, ahead: Any) -> Tensor:
            pooled = guide._pooled(found, ahead)  # noqa: B023
            seen.append((pooled @ parts["probe"] + parts["probe_bias"]).detach())  # noqa: B023
            return loss_of(found, unperturbed, ahead)  # noqa: B023

        guide._loss = spy  # type: ignore[method-assign]
        guide(base_rows(lm), base_rows(lm))
        before, after = seen
        assert bool((strength * (after - before) > 0).all())


@pytest.mark.parametrize("name", names())
@pytest.mark.parametrize("gm", [0.3, 1.0])
def test_step_size_0_is_the_base_also_under_top_k(name: str, gm: float) -> None:
    lm = tiny_model(name)
    for made in (pplm(lm, step_size=0.0, gm=gm), pplm(lm, steps=0, gm=gm)):
        steered = made.apply(lm)
        for one, other in zip(*(x.response_logits(PROMPTS, RESPONSES) for x in (steered, lm)), strict=True):
            torch.testing.assert_close(
                one.log_softmax(-1), other.log_softmax(-1), atol=BATCHED_LOGITS, rtol=0
            )
        top = Decoding(top_k=10)
        drawn = [[s.token_ids for s in x.generate(PROMPTS, 2, 4, 1, top)] for x in (steered, lm)]
        assert drawn[0] == drawn[1]


def test_without_steps_the_past_is_untouched() -> None:
    lm = tiny_model("gpt2")
    guide = guide_of(lm, pplm(lm, steps=0))
    guide(base_rows(lm), base_rows(lm))
    assert guide._past is not None
    assert all(float(t.abs().max()) == 0 for pair in guide._past.offsets if pair for t in pair)


def offsets_after_one(lm: LM, made: Pplm) -> tuple[list[Pair], list[Tensor]]:
    """What one step adds to the prompts' keys and values, and the gradients' norms."""
    guide = guide_of(lm, made)
    guide(base_rows(lm), base_rows(lm))
    assert guide._past is not None
    offsets = [Pair(*(t[:, :, :-1] for t in pair)) for pair in guide._past.offsets if pair is not None]
    return offsets, [n for n in guide._norms if n is not None]


@pytest.mark.parametrize("name", names())
def test_length_of_one_step(name: str) -> None:
    lm = tiny_model(name)
    for gamma in (1.0, 1.5):
        offsets, norms = offsets_after_one(lm, pplm(lm, steps=1, step_size=0.02, gamma=gamma))
        for pair, norm in zip(offsets, norms, strict=True):
            length = maths.gradient_norm(*pair)
            # A sliding window has dropped the oldest position by now, if a row was that long.
            whole = torch.tensor([pair.keys.shape[2] >= len(lm.prompt_ids(t)) - 1 for t in PROMPTS])
            want = 0.02 / norm ** (gamma - 1)
            torch.testing.assert_close(length[whole], want[whole], atol=1e-7, rtol=1e-4)
            assert bool((length <= want * 1.0001).all())


@pytest.mark.parametrize("name", names())
def test_a_window_of_1_moves_the_last_position_alone(name: str) -> None:
    lm = tiny_model(name)
    offsets, _ = offsets_after_one(lm, pplm(lm, steps=1, window=1))
    for pair in offsets:
        for tensor in pair:
            assert float(tensor[:, :, :-1].abs().max()) == 0
            assert bool((tensor[:, :, -1].abs().flatten(1).amax(1) > 0).all())


def test_padding_is_never_moved() -> None:
    lm = tiny_model("gpt2")
    offsets, _ = offsets_after_one(lm, pplm(lm, steps=3, window=6))
    lengths = [len(lm.prompt_ids(t)) - 1 for t in PROMPTS]
    for pair in offsets:
        for tensor in pair:
            for row, length in enumerate(lengths):
                assert float(tensor[row, :, : tensor.shape[2] - length].abs().sum()) == 0


def test_the_gradient_agrees_with_finite_differences_and_a_small_step_descends() -> None:
    lm = tiny_model("mistral")  # two layers
    model, (prompt,) = lm.resident.model, [lm.prompt_ids(PROMPTS[2])]
    bag = torch.tensor(BAG)
    last = torch.tensor([prompt[-1]])

    def loss(past: KeyValues, deltas: list[Pair]) -> float:
        with torch.no_grad():
            logits = past.read(past.shifted(deltas), last).logits
        return float(maths.bag_loss(logits.double().log_softmax(-1), [bag]))

    offsets, norms = offsets_after_one_row(lm)
    past = KeyValues(lm.resident, model, [prompt])
    before = loss(past, [Pair(*(torch.zeros_like(t) for t in pair)) for pair in offsets])
    slope = 0.0
    for pair, norm in zip(offsets, norms, strict=True):
        # One step of gamma 1 is -size g / |g|, so the loss falls by size * |g| a layer.
        assert float(maths.gradient_norm(*pair)) == pytest.approx(1e-2, rel=1e-4)
        slope -= 1e-2 * float(norm)
    ahead, behind = (
        loss(past, [Pair(*(sign * 0.1 * t for t in pair)) for pair in offsets]) for sign in (1.0, -1.0)
    )
    assert (ahead - behind) / 0.2 == pytest.approx(slope, rel=2e-2)
    assert loss(past, offsets) < before


def offsets_after_one_row(lm: LM) -> tuple[list[Pair], list[Tensor]]:
    made = pplm(lm, steps=1, step_size=1e-2, gamma=1.0, kl_scale=0.0)
    guide = guide_of(lm, made, prompts=PROMPTS[2:])
    base = base_rows(lm, PROMPTS[2:])
    guide(base, base)
    assert guide._past is not None
    offsets = [Pair(*(t[:, :, :-1] for t in pair)) for pair in guide._past.offsets if pair is not None]
    return offsets, [n for n in guide._norms if n is not None]


def test_perturbations_stay_in_the_past() -> None:
    lm = tiny_model("llama")
    steered = pplm(lm).apply(lm)
    both = steered.response_logits(PROMPTS[:1], [(30, 31)])[0][1]
    fresh = steered.response_logits([PROMPTS[0]], [(30,)])
    assert len(fresh[0]) == 1
    alone = slow.logprobs(lm.resident.model, [*lm.prompt_ids(PROMPTS[0]), 30], [31], BAG)[0]
    assert not torch.allclose(both.log_softmax(-1), alone, atol=1e-3)


def test_rows_that_leave_do_not_change_the_others() -> None:
    lm = tiny_model("llama")
    ends = Boost(torch.tensor([2]), torch.tensor([4.0]), **made_for(lm))
    steered = pplm(lm, window=4).apply(ends.apply(lm))
    prompts = [*PROMPTS, "The cats", "", "Paper"] * 2
    batched = steered.sample(prompts, list(range(12)), 12, Decoding(temperature=2.0))
    assert len({len(s.token_ids) for s in batched}) > 1  # some rows have ended before others
    for sample in batched[:6]:
        alone = steered.sample([sample.prompt], [sample.seed], 12, Decoding(temperature=2.0))[0]
        assert alone.token_ids == sample.token_ids


def test_nothing_of_the_model_ever_asks_for_gradients() -> None:
    lm = tiny_model("gpt2")
    pplm(lm).apply(lm).generate(PROMPTS, max_new_tokens=2)
    assert not any(p.requires_grad or p.grad is not None for p in lm.resident.model.parameters())
    assert not lm.resident.model.get_output_embeddings()._forward_pre_hooks


def test_a_positive_strength_raises_the_bag_and_a_negative_one_lowers_it() -> None:
    lm = tiny_model("gpt2")
    made = pplm(lm, step_size=1.0, steps=3)
    share = {
        strength: [
            float(rows[0].softmax(-1)[list(BAG)].sum())
            for rows in made.apply(lm, strength).response_logits(PROMPTS, RESPONSES)
        ]
        for strength in (-1.0, 0.0, 1.0)
    }
    for low, base, high in zip(share[-1.0], share[0.0], share[1.0], strict=True):
        assert low < base < high


def test_the_expected_embedding_is_what_the_model_would_look_up() -> None:
    for name in ("gemma", "gpt2", "opt"):
        model = tiny_model(name).resident.model
        embedding = model.get_input_embeddings()
        p = torch.zeros(2, embedding.weight.shape[0])
        p[0, 7], p[1, 5], p[1, 9] = 1.0, 0.25, 0.75
        looked = embedding(torch.tensor([7, 5, 9]))
        want = torch.stack([looked[0], 0.25 * looked[1] + 0.75 * looked[2]])
        torch.testing.assert_close(expected_embedding(p, embedding), want, atol=1e-5, rtol=1e-5)


@needs_bfloat16
def test_bfloat16_keeps_small_steps() -> None:
    import copy

    from dipole.models.resident import TransformersResident

    shared = tiny_model("llama").resident
    half = LM(TransformersResident(copy.deepcopy(shared.model).bfloat16(), shared.tokenizer, "half"))
    guide = guide_of(half, pplm(half, steps=3, step_size=1e-4, gamma=1.0))
    base = base_rows(half).float()
    logits = guide(base, base)
    assert logits.dtype == torch.float32
    assert bool(logits.isfinite().all())
    assert guide._past is not None
    for pair in guide._past.offsets:
        assert pair is not None
        assert pair.keys.dtype == torch.float32
        # Three steps of one length in about one direction, each too small for the cache's own precision.
        assert float(maths.gradient_norm(*pair).min()) > 2e-4


def test_a_probe_is_saved_and_one_without_it_refused(tmp_path: Path) -> None:
    lm = tiny_model("gpt2")
    made = pplm(lm, **probe(lm))
    made.save(tmp_path)
    loaded = load_intervention(tmp_path)
    pair = (x.apply(lm).response_logits(PROMPTS, RESPONSES)[0] for x in (made, loaded))
    assert torch.equal(*pair)
    from safetensors.torch import save_file

    save_file({"probe": made.probe}, tmp_path / "tensors.safetensors")
    with pytest.raises(UserError, match="neither a bag nor a probe"):
        load_intervention(tmp_path)


def test_where_steps_are_taken_is_saved_and_an_older_folder_takes_them_everywhere(tmp_path: Path) -> None:
    pplm(tiny_model("gpt2"), plausible=0.25).save(tmp_path)
    loaded = load_intervention(tmp_path)
    assert isinstance(loaded, Pplm)
    assert loaded.plausible == 0.25
    file = tmp_path / "dipole.json"
    data = json.loads(file.read_text("utf-8"))
    del data["plausible"]
    file.write_text(json.dumps(data), "utf-8")
    older = load_intervention(tmp_path)
    assert isinstance(older, Pplm)
    assert older.plausible == 0.0


def test_a_model_without_keys_and_values_is_refused() -> None:
    lm = tiny_model("gpt2")
    blind = replace(lm.resident)
    vars(blind)["forward_parameters"] = frozenset({"input_ids", "attention_mask"})
    with pytest.raises(UserError, match="keeps no keys and values"):
        KeyValues(blind, blind.model, [[1, 2]])


def test_the_slow_route_itself_without_steps_is_the_model() -> None:
    lm = tiny_model("gpt2")
    ids = lm.prompt_ids(PROMPTS[0])
    rows = slow.logprobs(lm.resident.model, ids, RESPONSES[0], BAG, steps=0)
    want = generation.logprobs(lm.resident.model, ids, RESPONSES[0])
    got = [float(row[token]) for row, token in zip(rows, RESPONSES[0], strict=True)]
    assert got == pytest.approx(want, abs=BATCHED_LOGITS)
