"""Guidance by a probe: the formula, the exact posterior of a small Markov chain, and the slow route."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import json
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from architectures import CONTEXT, EOS, names, tiny_model
from contracts.recipes import INTERVENTIONS, random_fudge
from dipole.decoding.distribution import Decoding
from dipole.decoding.stepping import steps
from dipole.engaging.blocks import decoder_blocks
from dipole.interventions import _fudge_guide, load_intervention
from dipole.interventions._fudge_guide import likeliest, reweighted
from dipole.interventions.fudge import Fudge
from dipole.interventions.logits import Boost, made_for
from dipole.lm import LM
from dipole.models.resident import TransformersResident
from dipole.types import UserError
from machine import needs_bfloat16
from reference import fudge as slow
from tolerance import BATCHED_LOGITS, EXACT, LOSS, PERTURBED

PROMPTS = ("Paper clips are", "", "If I had to choose between clips and staples,", "Paper clips are")
RESPONSES = ((30, 31, 40), (9,), (40, 40), (30, 9))


def odds(*p: float) -> Tensor:
    return torch.tensor([math.log(x / (1 - x)) for x in p])


@pytest.mark.parametrize(
    ("strength", "want"),
    [(1.0, (0.7258, 0.2419, 0.0323)), (4.0, (0.9459, 0.0541, 0.0001)), (-1.0, (5 / 38, 15 / 38, 18 / 38))],
)
def test_golden_numbers(strength: float, want: tuple[float, ...]) -> None:
    base = torch.tensor([[0.5, 0.3, 0.2]]).log()
    got = reweighted(base, torch.zeros(3, dtype=torch.long), torch.arange(3), odds(0.9, 0.5, 0.1), strength)
    torch.testing.assert_close(got.softmax(1), torch.tensor([want]), atol=5e-5, rtol=0)


def test_what_is_no_candidate_is_not_said() -> None:
    base = torch.tensor([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]])
    rows, tokens = torch.tensor([0, 0, 1]), torch.tensor([2, 1, 0])
    got = reweighted(base, rows, tokens, odds(0.25, 0.5, 0.5), 2.0)
    inf = math.inf
    want = [[-inf, 2 - 2 * math.log(2), 3 - 4 * math.log(2)], [3 - 2 * math.log(2), -inf, -inf]]
    torch.testing.assert_close(got, torch.tensor(want), atol=LOSS, rtol=LOSS)


@pytest.mark.parametrize("mass", [1e-9, 0.3, 0.9, 0.999, 1.0])
@pytest.mark.parametrize("most", [1, 5, 40, 400])
def test_candidates_are_the_smallest_likely_set(mass: float, most: int) -> None:
    logits = torch.randn(6, 40, generator=torch.Generator().manual_seed(0)) * 2
    logits[2, 3:] = -torch.inf  # a token pool allows three
    tokens, taken = likeliest(logits, most, mass)
    for row, ids, kept in zip(logits.double().tolist(), tokens, taken, strict=True):
        assert ids[kept].tolist() == slow.candidates(row, most, mass)


def test_with_the_exact_classifier_of_a_markov_chain_it_draws_from_the_posterior() -> None:
    """All 3^4 texts of a chain whose attribute depends on all of a text: p(x | a), by enumeration."""
    generator = torch.Generator().manual_seed(1)
    start = torch.rand(3, generator=generator, dtype=torch.float64)
    step = torch.rand(3, 3, generator=generator, dtype=torch.float64)
    start, step = start / start.sum(), step / step.sum(1, keepdim=True)
    length, texts = 4, list(itertools.product(range(3), repeat=4))
    p_text, p_attribute = {}, {}
    for text in texts:
        p_text[text] = float(start[text[0]])
        for a, b in itertools.pairwise(text):
            p_text[text] *= float(step[a, b])
        p_attribute[text] = float(torch.rand((), generator=generator, dtype=torch.float64))

    def classifier(beginning: tuple[int, ...]) -> float:
        ends = [text for text in texts if text[: len(beginning)] == beginning]
        joint = sum(p_text[text] * p_attribute[text] for text in ends)
        return joint / sum(p_text[text] for text in ends)

    guided = dict.fromkeys(texts, 1.0)
    for text in texts:
        for t in range(length):
            base = (start if t == 0 else step[text[t - 1]]).log()[None]
            beliefs = [classifier((*text[:t], v)) for v in range(3)]
            log_odds = torch.tensor([math.log(p / (1 - p)) for p in beliefs], dtype=torch.float64)
            got = reweighted(base, torch.zeros(3, dtype=torch.long), torch.arange(3), log_odds, 1.0)
            guided[text] *= float(got.softmax(1)[0, text[t]])
    total = sum(p_text[text] * p_attribute[text] for text in texts)
    for text in texts:
        assert guided[text] == pytest.approx(p_text[text] * p_attribute[text] / total, rel=1e-12)


def test_strength_0_is_the_base() -> None:
    lm = tiny_model("llama")
    off = random_fudge("llama").apply(lm, 0.0)
    for got, want in zip(
        off.response_logits(PROMPTS, RESPONSES), lm.response_logits(PROMPTS, RESPONSES), strict=True
    ):
        assert torch.equal(got, want)


def agree(lm: LM, made: Fudge, strength: float, forbidden: tuple[int, ...] = ()) -> None:
    """The guide, in a padded batch, against each row read anew."""
    steered = lm
    if forbidden:
        values = torch.full((len(forbidden),), -torch.inf)
        boost = Boost(torch.tensor(forbidden), values, **made_for(lm))
        steered = boost.apply(lm)
    got = made.apply(steered, strength).response_logits(PROMPTS, RESPONSES)
    block = decoder_blocks(lm.resident.model)[made.layer]
    for text, response, rows in zip(PROMPTS[:3], RESPONSES, got, strict=False):
        want = slow.logprobs(
            lm.resident.model,
            block,
            lm.prompt_ids(text),
            response,
            made.weight.tolist(),
            float(made.bias),
            made.candidates,
            made.mass,
            made.power * strength,
            lm.resident.eos_ids,
            forbidden,
        )
        assert torch.equal(rows.isneginf(), want.isneginf())
        torch.testing.assert_close(rows.log_softmax(-1), want, atol=10 * BATCHED_LOGITS, rtol=BATCHED_LOGITS)


@pytest.mark.parametrize("name", names())
def test_it_equals_the_slow_route(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lm = tiny_model(name)
    monkeypatch.setattr(_fudge_guide, "_FORK_BYTES", 0)  # no more rows at once than the batch has
    last = len(decoder_blocks(lm.resident.model)) - 1
    agree(lm, dataclasses.replace(random_fudge(name, mass=0.8), layer=last), -1.5)
    monkeypatch.setitem(
        vars(lm.resident), "forward_parameters", lm.resident.forward_parameters - {"past_key_values"}
    )
    agree(lm, random_fudge(name, 4, power=2.0), 0.5)


def test_after_a_token_pool_it_chooses_among_what_is_allowed() -> None:
    lm = tiny_model("gpt2")
    (first,) = lm.response_logits(["Paper clips are"], [[9]])
    forbidden = tuple(first[0].topk(5).indices.tolist())
    agree(lm, random_fudge("gpt2"), 1.0, forbidden)


def test_a_text_that_may_end_is_weighed_as_it_is() -> None:
    lm = tiny_model("llama")
    boost = Boost(torch.tensor([EOS]), torch.tensor([30.0]), **made_for(lm))
    made = dataclasses.replace(random_fudge("llama"), mass=1.0)
    ((row,),) = (made.apply(boost.apply(lm)).response_logits(["Paper clips are"], [[9]]),)
    (base,) = boost.apply(lm).response_logits(["Paper clips are"], [[9]])
    block, ids = decoder_blocks(lm.resident.model)[0], lm.prompt_ids("Paper clips are")
    read = torch.tensor(slow.features(lm.resident.model, block, ids), dtype=torch.float64)
    want = float((read @ made.weight.double() + made.bias).sigmoid().log())
    assert float(row[0, EOS] - base[0, EOS]) == pytest.approx(want, abs=BATCHED_LOGITS)


def test_rows_do_not_depend_on_their_batch() -> None:
    lm = tiny_model("llama")
    end = Boost(torch.tensor([EOS]), torch.tensor([6.0]), **made_for(lm))
    steered = random_fudge("llama", 30, mass=0.95).apply(end.apply(lm))
    prompts = [*PROMPTS, "The cats", "Paper"] * 2
    hot = Decoding(temperature=2.0)
    batched = steered.sample(prompts, list(range(12)), 12, hot)
    assert len({len(s.token_ids) for s in batched}) > 2
    for sample in batched:
        alone = steered.sample([sample.prompt], [sample.seed], 12, hot)[0]
        assert alone.token_ids == sample.token_ids
        assert alone.logprobs == pytest.approx(sample.logprobs, abs=10 * BATCHED_LOGITS)


@pytest.mark.parametrize("kind", ["boost", "fudge", "pplm"])
def test_a_row_whose_response_is_over_need_not_have_room_for_the_others(kind: str) -> None:
    lm = tiny_model("gpt2")
    steered = INTERVENTIONS[kind]("gpt2").apply(lm)
    long = lm.resident.decode([], [30] * (CONTEXT - 2))
    responses = [[5], [6] * 5, []]
    together = steered.response_logits([long, "a", long], responses)
    assert [len(rows) for rows in together] == [1, 5, 0]
    for text, response, rows in zip([long, "a"], responses, together, strict=False):
        (alone,) = steered.response_logits([text], [response])
        torch.testing.assert_close(
            rows.log_softmax(-1), alone.log_softmax(-1), atol=PERTURBED, rtol=PERTURBED
        )


@pytest.mark.parametrize("kind", ["adapter", "vector"])
def test_it_reads_the_model_as_it_is_engaged(kind: str) -> None:
    lm, made = tiny_model("llama"), random_fudge("llama")
    inside = INTERVENTIONS[kind]("llama").apply(lm)
    got = made.apply(inside).response_logits(PROMPTS[:1], RESPONSES[:1])[0].log_softmax(-1)
    with inside.engaged() as model:
        want = slow.logprobs(
            model,
            decoder_blocks(model)[0],
            lm.prompt_ids(PROMPTS[0]),
            RESPONSES[0],
            made.weight.tolist(),
            float(made.bias),
            made.candidates,
            made.mass,
            1.0,
            lm.resident.eos_ids,
        )
    torch.testing.assert_close(got, want, atol=10 * BATCHED_LOGITS, rtol=BATCHED_LOGITS)


def test_it_reads_no_further_than_its_layer_and_only_what_is_open() -> None:
    lm, seven, one = tiny_model("gpt2"), random_fudge("gpt2", 7), random_fudge("gpt2", 1)
    read: list[list[int]] = [[], []]
    handles = [
        decoder_blocks(lm.resident.model)[k].register_forward_hook(
            lambda _m, args, _o, k=k: read[k].append(args[0].shape[0])
        )
        for k in (0, 1)
    ]
    seven.apply(lm).generate(["Paper", "The cats"], max_new_tokens=1)
    once = [list(rows) for rows in read]
    one.apply(lm).generate(["Paper", "The cats"], max_new_tokens=1)
    for handle in handles:
        handle.remove()
    assert once == [[2, 2, 14], [2]]
    assert read == [[2, 2, 14, 2, 2], [2, 2]]


@needs_bfloat16
def test_low_precision_models_are_read_in_float32() -> None:
    lm = tiny_model("llama")
    half = LM(
        TransformersResident(copy.deepcopy(lm.resident.model).bfloat16(), lm.resident.tokenizer, "half")
    )
    made = dataclasses.replace(random_fudge("llama"), base_fingerprint=half.resident.fingerprint)
    (rows,) = made.apply(half).response_logits(["Paper clips"], [[9, 9]])
    assert rows.dtype == torch.float32
    assert rows.isfinite().sum(1).tolist() == [8, 8]


@torch.no_grad()
@pytest.mark.parametrize("name", names())
def test_a_fork_leaves_what_it_came_from_as_it_was(name: str) -> None:
    resident = tiny_model(name).resident
    rows = [list(range(5, 16)), [9], [20, 21, 22]]
    one, other = (steps(resident, resident.model, rows) for _ in range(2))
    assert (one.row_bytes(), one.start().shape, other.start().shape) == (0, (3, 300), (3, 300))
    tokens = torch.tensor([40, 41, 42])
    for _ in range(2):
        fork = one.fork(torch.tensor([2, 0, 0]))
        forked = fork.advance(tokens)
        fork.advance(tokens)
    want, got = other.advance(torch.tensor([41, 50, 40])), one.advance(torch.tensor([41, 50, 40]))
    torch.testing.assert_close(got, want, atol=EXACT, rtol=EXACT)
    torch.testing.assert_close(forked[[1, 0]], want[[0, 2]], atol=BATCHED_LOGITS, rtol=BATCHED_LOGITS)
    layers = one.cache.layers
    held = sum(2 * layer.keys.numel() * 4 for layer in layers) / 3
    assert held <= one.row_bytes() <= held + 8 * len(layers)


def test_broken_folders_are_refused(tmp_path: Path) -> None:
    random_fudge("gpt2", mass=0.75, power=2.0).save(tmp_path)
    loaded = load_intervention(tmp_path)
    assert isinstance(loaded, Fudge)
    assert (loaded.mass, loaded.power) == (0.75, 2.0)
    meta = tmp_path / "dipole.json"
    plain = json.loads(meta.read_text())
    for key, value, message in (
        ("candidates", "many", "candidates must be a whole number from 1 .*, and is 'many'"),
        ("candidates", 0, "candidates must be a whole number from 1 .*, and is 0"),
        ("mass", 1.5, "mass must be a finite number above 0 up to 1, and is 1.5"),
        ("layer", -1, "layer must be a whole number from 0 .*, and is -1"),
        ("power", 0, "power must be a finite number above 0 .*, and is 0"),
    ):
        meta.write_text(json.dumps({**plain, key: value}))
        with pytest.raises(UserError, match=message):
            load_intervention(tmp_path)
    meta.write_text(json.dumps({k: v for k, v in plain.items() if k != "layer"}))
    with pytest.raises(UserError, match="has no 'layer'"):
        load_intervention(tmp_path)
