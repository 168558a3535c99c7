"""The gradient of what a model prefers, against differences of what it says when it is pushed."""

from __future__ import annotations

import pytest
import torch

from architectures import tiny_model
from dipole.concepts import Dipole
from dipole.concepts.dipole import Mentions
from dipole.controls.layers import steering_vector
from dipole.probing.directions import Direction
from dipole.reading.sides import answers
from dipole.reading.slopes import slopes
from dipole.reading.told import leanings

DIPOLE = Dipole(
    "Cats are good.",
    "Dogs are good.",
    prompts=("The cats or the dogs? The", "I like the"),
    mentions=Mentions(("cat",), ("dog",)),
)


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_the_slope_is_what_a_small_push_changes(name: str) -> None:
    """Along a direction of each layer, by central differences over the vector as it is put into the model."""
    lm = tiny_model(name)
    told, depth = answers(lm, DIPOLE, DIPOLE.prompts), lm.resident.model.config.num_hidden_layers
    layers = tuple(range(depth))
    found = slopes(lm, told, layers)
    generator = torch.Generator().manual_seed(1)
    for row, layer in enumerate(layers):
        way = torch.nn.functional.normalize(torch.randn(lm.resident.width, generator=generator), dim=0)
        vector = steering_vector(lm, Direction(way.double(), 1), layer, (1.0, 1.0), "add")
        there, back = (leanings(vector.apply(lm, s), told).mean() for s in (0.02, -0.02))
        assert float(found[row] @ way.double()) == pytest.approx(
            float(there - back) / 0.04, rel=0.02, abs=2e-4
        )


def test_the_swapped_dipole_has_the_opposite_slope_and_the_model_stays() -> None:
    lm = tiny_model("llama")
    before = leanings(lm, answers(lm, DIPOLE, DIPOLE.prompts))
    one, other = (slopes(lm, answers(lm, d, d.prompts), (1,)) for d in (DIPOLE, DIPOLE.swapped()))
    torch.testing.assert_close(one, -other)
    assert torch.equal(leanings(lm, answers(lm, DIPOLE, DIPOLE.prompts)), before)
