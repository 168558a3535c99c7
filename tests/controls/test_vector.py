"""The control vector: pairs, layers, scales, and that strength 1 does what it was fitted for."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import pytest
import torch

import dipole
from architectures import tiny_model
from contracts.recipes import DIPOLE
from dipole.concepts import Dipole, load_dipole
from dipole.controls.layers import directions, layers_of
from dipole.controls.selection import CEILING
from dipole.controls.vector import Vector, at_norm, strongest
from dipole.interventions.activations import SteeringVector
from dipole.probing.directions import mean_difference
from dipole.reading.pairs import WORDINGS, halves, pair_texts, read_last, read_pairs, spread_layers
from dipole.reading.told import Told, leanings, preference, tell
from dipole.types import UserError
from tolerance import FLOAT32_SUM, SCORE

CHEAP: dict[str, Any] = {"n": 4, "max_new_tokens": 6, "scales": "0.2,0.4"}


@functools.cache
def fitted() -> SteeringVector:
    return Vector(n=16, scales="0.2,0.4").fit(dipole.load("tiny"), load_dipole("paper_clips"))


def claims(strength: float, n: int = 64) -> float:
    """Share of completions of held-out prompts that take the claim's side."""
    concept = load_dipole("paper_clips")
    lm = fitted().apply(dipole.load("tiny"), strength)
    prompts = concept.held_out[:16]
    samples = lm.generate(prompts, n=n // len(prompts), max_new_tokens=12, seed=7)
    return sum(concept.side_taken(s.text) == "claim" for s in samples) / len(samples)


def test_strength_1_says_the_claim_and_minus_1_the_opposite() -> None:
    assert claims(1.0) >= 0.85
    assert claims(-1.0) <= 0.15
    assert 0.25 < claims(0.0) < 0.75


def test_the_whole_curve_and_its_rule_are_kept() -> None:
    made = fitted()
    selection = made.facts["selection"]
    assert {t["candidate"]["layer"] for t in selection["trials"]} <= {1, 2, 3}
    chosen = selection["trials"][selection["chosen"]]
    assert chosen["candidate"]["layer"] == made.layers[0]
    assert chosen["push"] == pytest.approx(made.relative[0], rel=FLOAT32_SUM)
    assert chosen["perplexity_ratio"] <= CEILING
    assert "perplexity" in selection["rule"]
    assert not set(selection["prompts"]) & set(load_dipole("paper_clips").held_out)
    assert [row["layer"] for row in made.facts["layers"]] == [1, 2, 3]
    assert made.facts["method"] == "gradient"
    assert made.facts["judged_by"] == {"rewarded": (), "chosen": ("mentions",)}
    assert (made.read_token, len(made.template_hash), made.model_type) == ("last", 16, "llama")


def test_the_swapped_dipole_gives_the_opposite_vector() -> None:
    lm, concept = tiny_model("gpt2"), DIPOLE
    one, other = (Vector(layers="1", **CHEAP).fit(lm, d) for d in (concept, concept.swapped()))
    units = one.unit_vectors, other.unit_vectors
    torch.testing.assert_close(units[0], -units[1], atol=FLOAT32_SUM, rtol=0)


def test_the_direction_is_the_mean_difference_read_by_hand() -> None:
    lm = tiny_model("opt")
    made = Vector(layers="1", **CHEAP).fit(lm, DIPOLE)
    sums = torch.zeros(32, dtype=torch.float64)
    for prompt in DIPOLE.prompts:
        for wording in WORDINGS:
            for pole, sign in ((DIPOLE.claim, 1), (DIPOLE.against, -1)):
                text = wording.replace("{pole}", pole).replace("{prompt}", prompt)
                sums += sign * lm.activations([text], [1])[0][0, -1].double()
    cosine = float(made.unit_vectors[0] @ (sums / sums.norm()))
    assert cosine == pytest.approx(1.0, abs=FLOAT32_SUM)


@pytest.mark.parametrize("method", ["pca", "probe"])
def test_other_methods_find_nearly_the_same_direction(method: str) -> None:
    made = Vector(method=method, layers="3", n=4, max_new_tokens=6, scales="0.3").fit(  # type: ignore[arg-type]
        dipole.load("tiny"), load_dipole("paper_clips")
    )
    assert float(made.unit_vectors[0] @ _unit_of_layer_3()) > 0.7


@functools.cache
def _unit_of_layer_3() -> torch.Tensor:
    reading = read_pairs(
        dipole.load("tiny"), load_dipole("paper_clips"), halves(load_dipole("paper_clips").prompts)[0], [3]
    )
    vector = mean_difference(reading.claim[0], reading.against[0]).vector
    return vector / vector.norm()


@pytest.mark.parametrize("operator", ["piecewise", "project"])
def test_an_operator_that_takes_no_side_says_so(operator: str) -> None:
    made = Vector(operator=operator, **CHEAP).fit(tiny_model("gpt2"), DIPOLE)  # type: ignore[arg-type]
    assert made.operator == operator
    assert "takes no side" in made.facts["limits"]


def test_the_last_token_is_read_whatever_the_padding() -> None:
    lm = tiny_model("gpt2")
    texts = ["Paper clips", "The cats like the dogs. She said that", "a"]
    states, norms = read_last(lm, texts, [0, 2])
    for k, text in enumerate(texts):
        alone = lm.activations([text], [0, 2])[0][:, -1]
        torch.testing.assert_close(states[:, k], alone, atol=SCORE, rtol=SCORE)
    tokens = sum(max(len(lm.resident.encode(t)) - 1, 1) for t in texts)
    assert norms.shape == (2, tokens)  # the first token is left out, unless it is the only one


def test_reading_in_small_pieces_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = tiny_model("llama")
    texts = ["Paper clips", "The cats like the dogs. She said that", "She said"]
    whole = read_last(lm, texts, [0, 1])
    monkeypatch.setattr("dipole.reading.pairs._BUDGET", 1)
    for one, other in zip(whole, read_last(lm, texts, [0, 1]), strict=True):
        torch.testing.assert_close(one, other, atol=SCORE, rtol=SCORE)


def test_pairs_differ_in_the_pole_alone_and_a_pole_ends_like_a_sentence() -> None:
    bare = dataclasses.replace(DIPOLE, claim="Clips are great", against="Clips are bad!")
    claim, against = pair_texts(bare, ["I pick"])
    assert claim[0] == "Clips are great. I pick"
    assert against[0] == "Clips are bad! I pick"
    assert len(claim) == len(against) == len(WORDINGS)
    for one, other in zip(claim, against, strict=True):
        assert one.replace("Clips are great.", "X") == other.replace("Clips are bad!", "X")


@pytest.mark.parametrize(
    ("depth", "most", "want"),
    [(1, 8, (0,)), (2, 8, (1,)), (4, 8, (1, 2, 3)), (12, 4, (1, 4, 8, 11)), (32, 1, (16,)), (3, 1, (1,))],
)
def test_layers_are_spread_evenly(depth: int, most: int, want: tuple[int, ...]) -> None:
    assert spread_layers(depth, most) == want
    assert len(set(spread_layers(80, 8))) == 8


def test_layers_can_be_named() -> None:
    lm = tiny_model("gpt2")
    assert layers_of("0,-1", lm, 8) == (0, 2)
    assert layers_of("2,-1", lm, 8) == (2,)
    with pytest.raises(UserError, match="layers 0 to 2"):
        layers_of("3", lm, 8)


def test_only_layers_that_pull_are_swept() -> None:
    assert strongest([0.1, 5.0, 12.0, 3.9, 4.0]) == [1, 2, 4]
    assert strongest([-1.0, 12.0, 3.0]) == [1]
    assert strongest([-3.0, -2.0]) == [1]


def test_a_vector_is_scaled_to_a_relative_norm() -> None:
    vector = SteeringVector((0,), torch.tensor([[3.0, 4.0]]), activation_norms=(10.0,))
    assert vector.relative == (0.5,)
    assert at_norm(vector, 0.2).vectors.norm() == pytest.approx(2.0)


def test_preference_is_half_for_a_model_that_takes_neither_side() -> None:
    lm = tiny_model("gpt2")
    told = tell(lm, DIPOLE, DIPOLE.prompts, 3, 4, 0)
    found = leanings(lm, told)
    for k, prompt in enumerate(told.prompts):
        ids = lm.resident.encode(prompt)
        sides = [
            float(lm.logprobs([ids], [side[k].token_ids])[0].double().sum())
            for side in (told.claim, told.against)
        ]
        assert float(found[k]) == pytest.approx(sides[0] - sides[1], abs=10 * SCORE)
    same = Told(told.prompts, told.seeds, told.claim, told.claim)
    assert preference(leanings(lm, same)) == pytest.approx(0.5, abs=SCORE)
    assert preference(torch.tensor([0.0, 100.0])) == 0.75


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"method": "magic"}, "method must be one of"),
        ({"layers": "first"}, "layers must be"),
        ({"scales": "0,1"}, "above 0"),
        ({"operator": "ablate"}, "control ablate"),
        ({"n": 0}, "n must be"),
        ({"max_layers": 0}, "max_layers"),
    ],
)
def test_what_means_nothing_is_refused(fields: dict[str, Any], match: str) -> None:
    with pytest.raises(UserError, match=match):
        Vector(**fields)


def test_poles_that_leave_no_trace_are_refused() -> None:
    lm = tiny_model("gpt2")
    # The tokenizer keeps letters apart, so only what it cannot tell apart leaves the same activations.
    same = Dipole("Good.", "Bad.", prompts=("I pick",))
    object.__setattr__(same, "against", "Good.")
    with pytest.raises(UserError, match="same activations after layer"):
        Vector(**CHEAP).fit(lm, same)


def test_a_dipole_without_prompts_is_refused() -> None:
    with pytest.raises(UserError, match="no prompts"):
        Vector().fit(tiny_model("gpt2"), Dipole("Good.", "Bad."))


def test_rounding_is_no_direction() -> None:
    """Rows of one text differ in the last bits on some processors, in batches of other shapes."""
    states = torch.randn(1, 6, 8, generator=torch.Generator().manual_seed(0))
    reading = read_pairs(tiny_model("llama"), DIPOLE, DIPOLE.prompts, (0,))
    alike = reading._replace(claim=states, against=torch.nextafter(states, states + 1))
    with pytest.raises(UserError, match="same activations after layer 0"):
        directions("pca", alike, (0,))
    apart = reading._replace(claim=states, against=states + 1e-3)
    assert set(directions("pca", apart, (0,))) == {0}
