"""Training the top blocks alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from architectures import WAYS, fresh_tiny_model, tiny_model
from controls.weights.small import Letters, Plain, fitted, largest_difference, small
from controls.weights.test_targets import made
from dipole.controls.weights.adapter import lora_config, targets_of
from dipole.engaging.blocks import decoder_blocks
from dipole.types import UserError


def blocks_of(keys: Any, name: str) -> set[int]:
    """Which blocks the tensors of an adapter are of."""
    model = tiny_model(name).resident.model
    where = {id(module): index for index, module in enumerate(decoder_blocks(model))}
    stems = {n: where[id(module)] for n, module in model.named_modules() if id(module) in where}
    found = {key: {index for stem, index in stems.items() if f".{stem}." in f".{key}"} for key in keys}
    assert all(len(indices) == 1 for indices in found.values())
    return {index for indices in found.values() for index in indices}


@pytest.mark.parametrize("name", WAYS)
def test_the_adapter_is_on_the_top_blocks_alone_and_what_is_below_has_no_graph(name: str) -> None:
    lm = fresh_tiny_model(name)
    blocks = [*decoder_blocks(lm.resident.model)]
    seen: list[tuple[int, bool]] = []

    def look(module: Any, arguments: Any, output: Any) -> None:
        first = output[0] if isinstance(output, tuple) else output
        seen.append((blocks.index(module), first.requires_grad))

    handles = [block.register_forward_hook(look) for block in blocks]
    adapter = fitted(small(live_blocks=1, rounds=1), lm, Plain(), Letters())
    for handle in handles:
        handle.remove()
    last = len(blocks) - 1
    assert blocks_of(adapter.state, name) == {last}
    assert {index for index, graph in seen if graph} == {last}
    assert any(tensor.any() for key, tensor in adapter.state.items() if "lora_B" in key)


def test_all_blocks_are_what_is_meant_where_nothing_is_said() -> None:
    count = len(decoder_blocks(tiny_model("llama").resident.model))
    one, other = (
        fitted(replace(small(rounds=1), live_blocks=n), fresh_tiny_model("llama"), Plain(), Letters()).state
        for n in (0, count)
    )
    assert largest_difference([one], [other]) == 0


def test_names_that_are_given_are_looked_for_in_the_top_blocks() -> None:
    model = tiny_model("llama").resident.model
    found = targets_of(model, lora_config(small(target_modules="q_proj,v_proj")), 1)
    assert found.modules == ["model.layers.2.self_attn.q_proj", "model.layers.2.self_attn.v_proj"]
    with pytest.raises(UserError, match="live blocks have none of the layers"):
        targets_of(model, lora_config(small(target_modules="nothing")), 1)


def test_experts_of_the_top_blocks() -> None:
    model = made("mixtral").resident.model
    found = targets_of(model, lora_config(small()), 1)
    last = f"layers.{len(decoder_blocks(model)) - 1}."
    assert found.parameters
    assert all(last in name for name in (*found.modules, *found.parameters))


@pytest.mark.parametrize("live", [-1, 4])
def test_more_blocks_than_there_are(live: int) -> None:
    with pytest.raises(UserError, match=f"live_blocks is {live}, and the model has 3 blocks"):
        fitted(small(live_blocks=live), tiny_model("llama"), Plain(), Letters())
