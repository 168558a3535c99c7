"""What distribution a pool draws from: local masks, ASAp, and the softmax over labels."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence

import pytest
import torch
from torch import Tensor

from architectures import names, tiny_model
from dipole.interventions.pools.asap import Node, biased, learn, visit
from dipole.interventions.pools.scoring import Path, next_logprobs
from dipole.interventions.pools.vocabulary import vocabulary
from dipole.interventions.tokens import Labels, Pool
from dipole.lm import LM
from dipole.types import UserError
from reference import pool as slow
from tolerance import BATCHED_LOGITS, ESTIMATE, FLOAT32_SUM, SCORE

PROMPT = "If I had to choose between paper clips and staples, I'd pick"

Model = Callable[[str], Mapping[str, float]]


class Toy:
    """ASAp over a model of single letters, as the paper writes it: c of every child, sums over all."""

    def __init__(self, model: Model, language: set[str], letters: str) -> None:
        self.model, self.language, self.letters = model, language, letters
        self.root = Node()
        self.size = max(map(len, language))

    def valid(self, prefix: str) -> list[str]:
        return [v for v in self.letters if any(y.startswith(prefix + v) for y in self.language)]

    def weights(self, prefix: str, node: Node) -> Tensor:
        logits = torch.full((1, len(self.letters)), -torch.inf)
        for v in self.valid(prefix):
            logits[0, self.letters.index(v)] = math.log(self.model(prefix)[v])
        return biased(logits, [node])[0].softmax(-1)

    def first(self) -> dict[str, float]:
        return dict(zip(self.letters, self.weights("", self.root).tolist(), strict=True))

    def draw(self, rng: random.Random) -> str:
        text, node, path = "", self.root, [self.root]
        while text not in self.language:
            node.valid = sum(self.model(text)[v] for v in self.valid(text))
            (v,) = rng.choices(self.letters, self.weights(text, node).tolist())
            node = visit(node, self.letters.index(v), self.model(text)[v])
            text += v
            path.append(node)
        learn(path)
        return text


def two_branches(prefix: str) -> Mapping[str, float]:
    return {
        "": {"a": 0.9, "b": 0.1, "x": 0, "z": 0},
        "a": {"a": 0.5, "b": 0.49, "x": 0.01, "z": 0},
        "b": {"a": 0, "b": 0, "x": 0.6, "z": 0.4},
    }[prefix]


def test_asap_on_two_branches_is_0_900_and_then_0_0826() -> None:
    rng = random.Random(0)
    for _ in range(20):
        toy = Toy(two_branches, {"ax", "bx", "bz"}, "abxz")
        visited = False
        for _ in range(6):
            first = toy.first()
            want = 0.0826 if visited else 0.900
            assert first["a"] == pytest.approx(want, abs=5e-5)
            text = toy.draw(rng)
            visited = visited or text[0] == "a"
        assert toy.root.log_future <= 0
    # Once everything was seen, whole texts have the model's own odds.
    first, second = toy.first(), toy.weights("b", toy.root.children[1][1])
    assert first["b"] * second.tolist()[2] == pytest.approx(0.5505, abs=5e-5)
    assert first["b"] * second.tolist()[3] == pytest.approx(0.3670, abs=5e-5)


def bits(_prefix: str) -> Mapping[str, float]:
    return {"0": 0.5, "1": 0.5}


@pytest.mark.parametrize(
    ("one", "free", "want"), [("00000", "1", 16 / 17), ("000", "1", 4 / 5), ("11111", "0", 16 / 17)]
)
def test_asap_on_the_released_toy_languages(one: str, free: str, want: float) -> None:
    size = len(one)
    language = {one} | {free + format(k, f"0{size - 1}b") for k in range(2 ** (size - 1))}
    toy, rng = Toy(bits, language, "01"), random.Random(0)
    assert toy.first()[free] == 0.5
    futures = []
    for _ in range(200):
        toy.draw(rng)
        futures.append(toy.root.log_future)
    assert futures == sorted(futures, reverse=True)
    assert toy.first()[free] == pytest.approx(want, abs=1e-6)
    assert math.exp(futures[-1]) == pytest.approx(len(language) / 2**size)


def first_step(pool: Pool, lm: LM, prompt: str = PROMPT) -> Tensor:
    return pool.apply(lm).response_logits([prompt], [[0]])[0][0].float().softmax(-1)


def label_logprob(lm: LM, prompt: str, ids: Sequence[int], end: bool = True) -> float:
    """Sum of log-probabilities by a plain forward."""
    prefix = lm.prompt_ids(prompt)
    response = [*ids, min(lm.resident.eos_ids)] if end else list(ids)
    with lm.engaged() as model:
        logits = model(input_ids=torch.tensor([[*prefix, *response]])).logits[0].double().log_softmax(-1)
    return float(sum(logits[len(prefix) - 1 + k, t] for k, t in enumerate(response)))


LABELS = ("paper clips", "staples", "paper", "the worst")


@pytest.mark.parametrize("end", [True, False])
@pytest.mark.parametrize("name", ["tiny", "gpt2", "llama", "falcon_alibi"])
def test_global_is_the_softmax_over_whole_labels(
    name: str, end: bool, request: pytest.FixtureRequest
) -> None:
    lm = request.getfixturevalue("tiny") if name == "tiny" else tiny_model(name)
    pool = Pool(Labels(LABELS, "." if end else ""), "global", count_end=end)
    paths = [lm.resident.continuation_ids(text) for text in pool.language.texts("a")]  # type: ignore[attr-defined]
    want = torch.tensor([label_logprob(lm, PROMPT, ids, end) for ids in paths]).softmax(-1)
    responses = [[*ids, min(lm.resident.eos_ids)] for ids in paths]
    logits = pool.apply(lm).response_logits([PROMPT] * len(LABELS), responses)
    have = [
        row.log_softmax(-1).gather(-1, torch.tensor(r)[:, None]).sum()
        for row, r in zip(logits, responses, strict=True)
    ]
    torch.testing.assert_close(torch.stack(have).exp(), want.float(), atol=BATCHED_LOGITS, rtol=0)
    assert sum(have).isfinite()


def test_another_label_leaves_the_odds_of_the_others() -> None:
    few = next_logprobs([Path((5, 2), -1.0), Path((6, 2), -3.0)], ())
    more = next_logprobs([Path((5, 2), -1.0), Path((6, 2), -3.0), Path((7, 2), -0.5)], ())
    assert few[5] - few[6] == pytest.approx(2.0)
    assert more[5] - more[6] == pytest.approx(2.0)
    shared = [Path((5, 2), -1.0), Path((5, 6, 2), -1.0), Path((7, 2), -1.0)]
    assert next_logprobs(shared, ())[5] == pytest.approx(math.log(2 / 3))
    assert next_logprobs(shared, (5,)) == pytest.approx({2: math.log(0.5), 6: math.log(0.5)})
    assert next_logprobs(shared, (9,)) == {}


def test_a_prior_is_subtracted_and_a_uniform_one_changes_nothing(tiny: LM) -> None:
    plain, told = Pool(Labels(LABELS), "global"), Pool(Labels(LABELS), "global", prior="N/A")
    ids = [tiny.resident.continuation_ids(f" {label}") for label in LABELS]
    scores = torch.tensor([label_logprob(tiny, PROMPT, i) - label_logprob(tiny, "N/A", i) for i in ids])
    logits = told.apply(tiny).response_logits([PROMPT], [[*ids[1], 2]])[0].log_softmax(-1)
    have = logits.gather(-1, torch.tensor([*ids[1], 2])[:, None]).sum()
    # Ours reads all labels in one padded batch, twice.
    assert float(have) == pytest.approx(float(scores.log_softmax(-1)[1]), abs=BATCHED_LOGITS)
    same = Pool(Labels(LABELS), "global", prior=PROMPT)
    flat = first_step(same, tiny)
    first = torch.zeros_like(flat)
    for i in ids:
        first[i[0]] += 1 / len(ids)
    torch.testing.assert_close(flat, first, atol=FLOAT32_SUM, rtol=0)
    assert not torch.allclose(first_step(plain, tiny), flat, atol=0.05)


def single_tokens(lm: LM, count: int = 5) -> tuple[str, ...]:
    words = vocabulary(lm.resident)
    found = [t.decode() for t in words.texts if t and t.startswith(b" ") and t[1:].isalpha()]
    return tuple(t.strip() for t in sorted(found, key=len, reverse=True)[:count])


def test_single_tokens_without_the_end_are_the_same_locally_and_globally(tiny: LM) -> None:
    labels = single_tokens(tiny)
    ids = torch.tensor([tiny.resident.continuation_ids(f" {label}") for label in labels])[:, 0]
    raw = tiny.response_logits([PROMPT], [[0]])[0][0]
    want = raw[ids].softmax(-1)
    everywhere = first_step(Pool(Labels(labels), "global", count_end=False), tiny)
    local = first_step(Pool(Labels(labels)), tiny)
    torch.testing.assert_close(everywhere[ids], want, atol=SCORE, rtol=0)
    # Plain masking lets the other tokenisations begin too; among whole labels the odds are the same.
    torch.testing.assert_close(local[ids] / local[ids].sum(), want, atol=SCORE, rtol=0)


@pytest.mark.parametrize("name", ["tiny", "mini", "gpt2", "bloom"])
def test_asap_comes_to_the_model_given_the_language(name: str, request: pytest.FixtureRequest) -> None:
    lm = request.getfixturevalue(name) if name in ("tiny", "mini") else tiny_model(name)
    # A random model finds any label unlikely, so its estimates fall only once every prefix was drawn.
    labels = ("cats", "dogs", "the cat") if name in ("tiny", "mini") else ("xz", "q", "zq")
    words, lead = vocabulary(lm.resident), " " if name in ("tiny", "mini") else ""
    prompt = PROMPT if lead else PROMPT + " "
    paths = [p for label in labels for p in slow.tokenisations((lead + label).encode(), words.texts)]
    scores = lm.logprobs([lm.prompt_ids(prompt)] * len(paths), [[*p, min(words.eos_ids)] for p in paths])
    odds = torch.stack([row.sum() for row in scores]).softmax(-1)
    want = torch.zeros(len(words.texts))
    for path, share in zip(paths, odds.tolist(), strict=True):
        want[path[0]] += share
    local = first_step(Pool(Labels(labels)), lm, prompt)[: len(want)]
    have = first_step(Pool(Labels(labels), "asap", rounds=100), lm, prompt)[: len(want)]
    assert (have - want).abs().max() < 3 * ESTIMATE
    assert (local - want).abs().max() > 5 * ESTIMATE  # so there was something to correct


def test_asap_gives_one_sample_in_any_batch(tiny: LM) -> None:
    lm = Pool(Labels(("cats", "dogs", "cat and dogs")), "asap", rounds=4).apply(tiny)
    prompts = [PROMPT, "I like", ""]
    together = lm.generate(prompts, n=3, max_new_tokens=6, seed=4)
    alone = [lm.sample([s.prompt], [s.seed], 6)[0] for s in reversed(together)]
    assert [s.token_ids for s in together] == [s.token_ids for s in reversed(alone)]


@pytest.mark.parametrize("sampling", ["local", "asap", "global"])
@pytest.mark.parametrize("name", names())
def test_only_labels_are_written_on_every_architecture(name: str, sampling: str) -> None:
    lm = Pool(Labels(("cats", "dogs", "cat"), "."), sampling, rounds=2).apply(tiny_model(name))
    for sample in lm.generate(["I like", "", "x "], n=4, max_new_tokens=12):
        lead = " " if sample.prompt == "I like" else ""
        assert sample.finish_reason == "eos"
        assert sample.text in {f"{lead}{label}." for label in ("cats", "dogs", "cat")}


def test_what_a_pool_refuses() -> None:
    with pytest.raises(UserError, match="sampling must be one of"):
        Pool(Labels(("a",)), "greedy")
    with pytest.raises(UserError, match="rounds must be from 1 to 2048"):
        Pool(Labels(("a",)), "asap", rounds=0)
