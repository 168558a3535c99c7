"""The hidden states are found by what they are."""

from __future__ import annotations

from collections import namedtuple
from typing import Any

import pytest
import torch
from torch import nn
from transformers.modeling_outputs import BaseModelOutput

from architectures import fresh_tiny_model
from dipole.engaging.hidden import find_input, input_of, state_of, with_input, with_state
from dipole.engaging.stack import engaged
from dipole.interventions.activations import SteeringVector
from dipole.types import UserError

STATE = torch.randn(2, 5, 8)
ROUTER = torch.randn(2, 5, 4)  # also (batch, time, something)
WEIGHTS = torch.randn(2, 3, 5, 5)
Named = namedtuple("Named", ["loss", "hidden"])
OUTPUTS: dict[str, Any] = {
    "tensor": STATE,
    "tuple": (STATE, WEIGHTS),
    "list": [STATE, WEIGHTS],
    "second": (torch.tensor(0.1), STATE),
    "behind ids": (torch.ones(2, 5, 8, dtype=torch.long), STATE),
    "behind a router": (ROUTER, STATE),
    "behind attention": [WEIGHTS, None, STATE],
    "mapping": {"aux": None, "router": ROUTER, "hidden": STATE},
    "model output": BaseModelOutput(last_hidden_state=STATE, attentions=(WEIGHTS,)),
    "named": Named(torch.tensor(0.1), STATE),
}


@pytest.mark.parametrize("kind", OUTPUTS)
def test_what_a_block_returns(kind: str) -> None:
    output = OUTPUTS[kind]
    assert state_of(output, STATE) is STATE
    changed = with_state(output, STATE + 1, STATE)
    assert type(changed) is type(output)
    assert torch.equal(state_of(changed, STATE), STATE + 1)
    if kind != "tensor":
        before, after = (list(o.values()) if isinstance(o, dict) else list(o) for o in (output, changed))
        assert sum(a is not b for a, b in zip(before, after, strict=True)) == 1
    assert state_of(output, STATE) is STATE  # the output itself is as it was


@pytest.mark.parametrize("output", [WEIGHTS, (WEIGHTS, None), [], None, STATE[0], STATE.long()])
def test_what_is_not_there_is_said(output: Any) -> None:
    with pytest.raises(UserError, match="returns no hidden states of the shape"):
        state_of(output)


def test_modules_that_lay_batch_and_time_into_one() -> None:
    flat = STATE.flatten(0, 1)
    assert state_of(flat, flat=True) is flat
    assert state_of((flat, ROUTER[0, 0]), flat=True) is flat


def test_what_a_block_is_called_with() -> None:
    for args, kwargs in (
        ((STATE, WEIGHTS), {}),
        ((None, STATE), {"mask": WEIGHTS}),
        ((), {"mask": WEIGHTS, "hidden_states": STATE}),
        ((), {"mask": WEIGHTS, "x": STATE}),
    ):
        assert input_of(args, kwargs) is STATE
        changed = with_input(args, kwargs, STATE + 1)
        assert torch.equal(input_of(*changed), STATE + 1)
    assert find_input((WEIGHTS,), {}) is None
    with pytest.raises(UserError, match="takes no hidden states"):
        input_of((WEIGHTS,), {})


class _Odd(nn.Module):
    """A block that returns its states in another form."""

    def __init__(self, inner: nn.Module, form: str) -> None:
        super().__init__()
        self.inner, self.form = inner, form

    def forward(self, hidden: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        given = self.inner(hidden, *args, **kwargs)
        state = given[0] if isinstance(given, tuple) else given
        aux = torch.zeros(())
        return {"list": [state], "last": (aux, state), "mapping": {"aux": aux, "state": state}}[self.form]


@pytest.mark.parametrize("form", ["list", "last", "mapping"])
def test_a_vector_acts_on_blocks_of_any_form(form: str) -> None:
    lm = fresh_tiny_model("llama")
    model = lm.resident.model
    vector = SteeringVector((0,), torch.randn(1, 32, generator=torch.Generator().manual_seed(0)))
    ids, hidden = torch.tensor([[5, 6, 7]]), torch.randn(1, 3, 32)
    where = {"position_ids": torch.arange(3)[None]}
    rotary = model.model.rotary_emb(hidden, where["position_ids"])
    with torch.no_grad():
        plain = lm.token_activations(ids.tolist(), [0])[0]
        want = model.model.layers[0](hidden, position_embeddings=rotary)
        model.model.layers[0] = _Odd(model.model.layers[0], form)
        with engaged(model, [(vector, 2.0)]):
            got = model.model.layers[0](hidden, position_embeddings=rotary)
    assert torch.equal(state_of(got, hidden), state_of(want) + 2 * vector.vectors)
    assert plain.shape == (1, 3, 32)
