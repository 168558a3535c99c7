"""The control ablate: the chosen layer, and that the model grows deaf to the pole."""

from __future__ import annotations

import math

import pytest
import torch

import dipole
from architectures import tiny_model
from contracts.recipes import DIPOLE
from dipole.concepts import load_dipole
from dipole.controls.ablate import Ablate, Trial, mean_kl, pick, told_gap
from dipole.types import UserError
from tolerance import LOSS


def test_told_either_pole_the_ablated_model_says_the_same() -> None:
    lm, concept = dipole.load("tiny"), load_dipole("paper_clips")
    made = Ablate().fit(lm, concept)
    selection = made.facts["selection"]
    assert selection["base_gap"] > 0.9
    assert abs(selection["trials"][selection["chosen"]]["gap"]) < 0.2
    assert selection["trials"][selection["chosen"]]["kl"] < 0.1
    assert selection["trials"][selection["chosen"]]["layer"] == made.layers[0]
    assert "cannot push a torn model" in made.facts["limits"]
    prompts = concept.held_out[:8]
    assert abs(told_gap(made.apply(lm), concept, prompts, 16, 28, 5)) < 0.3
    assert told_gap(lm, concept, prompts, 16, 28, 5) > 0.9


def test_the_gentlest_of_those_that_work_is_taken() -> None:
    trials = [Trial(1, 0.9, 0.001), Trial(2, -0.05, 0.09), Trial(3, 0.01, 0.3)]
    assert pick(trials, 0.1) == 1
    assert pick(trials, 0.5) == 2
    assert pick(trials, 1e-4) == 0


def test_kl_by_hand() -> None:
    base = torch.tensor([[0.9, 0.1], [0.5, 0.5]]).log()
    other = torch.tensor([[0.5, 0.5], [0.5, 0.5]]).log() + 3
    want = (0.9 * math.log(0.9 / 0.5) + 0.1 * math.log(0.1 / 0.5)) / 2
    assert mean_kl(base, other) == pytest.approx(want, abs=LOSS)
    assert mean_kl(other, base) != pytest.approx(want, abs=LOSS)
    # A token that the base forbids adds nothing.
    assert mean_kl(torch.tensor([[0.0, -torch.inf]]), torch.tensor([[0.0, -torch.inf]])) == 0.0


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"method": "x"}, "method"),
        ({"layers": "x"}, "layers"),
        ({"max_kl": 0.0}, "max_kl"),
        ({"n": 0}, "n must"),
    ],
)
def test_what_means_nothing_is_refused(fields: dict[str, object], match: str) -> None:
    with pytest.raises(UserError, match=match):
        Ablate(**fields)  # type: ignore[arg-type]


def test_the_direction_does_not_depend_on_which_pole_is_called_the_claim() -> None:
    lm = tiny_model("llama")
    control = Ablate(layers="1", n=2, max_new_tokens=4)
    one, other = (control.fit(lm, d) for d in (DIPOLE, DIPOLE.swapped()))
    a, b = (v.apply(lm).response_logits(["The cats"], [[5, 6]])[0] for v in (one, other))
    torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)
