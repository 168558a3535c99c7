"""What every intervention promises (DESIGN section 6), over surfaces and architectures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import dipole.interventions as interventions
from architectures import ARCHITECTURES, fresh_tiny_model, tiny_model
from contracts.recipes import SURFACES, saved
from contracts.state import state
from dipole.interventions import load_intervention
from dipole.lm import LM
from dipole.types import Intervention, UserError
from reference import generation as slow
from tolerance import BATCHED_LOGITS

PROMPTS = ["Paper clips are", "", "If I had to choose between paper clips and staples,"]
every = pytest.mark.parametrize(("surface", "name"), [(s, n) for s in SURFACES for n in ARCHITECTURES])


def logits(lm: LM, text: str = PROMPTS[2]) -> Tensor:
    with lm.engaged() as model:
        output: Tensor = model(input_ids=torch.tensor([lm.resident.encode(text)])).logits
        return output


def test_every_surface_has_a_recipe() -> None:
    assert set(SURFACES) == set(interventions.SURFACES)


@every
def test_strength_0_is_the_base_bit_for_bit_and_1_is_not(surface: str, name: str) -> None:
    lm, made = tiny_model(name), SURFACES[surface](name)
    assert isinstance(made, Intervention)
    base = logits(lm)
    assert torch.equal(logits(made.apply(lm, 0.0)), base)
    assert not torch.allclose(logits(made.apply(lm)), base, atol=0.1)
    assert torch.equal(logits(lm), base)


@every
def test_the_resident_model_is_left_as_it_was(surface: str, name: str, tmp_path: Path) -> None:
    lm, made = tiny_model(name), SURFACES[surface](name)
    before = state(lm.resident.model)
    steered = made.apply(lm, 1.0)
    assert state(lm.resident.model) == before
    steered.generate(PROMPTS, max_new_tokens=3)
    steered.activations(PROMPTS, [0])
    steered.logprobs([[5, 6]], [[7]])
    made.save(tmp_path)
    assert state(lm.resident.model) == before
    assert lm.applied == ()


@every
def test_an_exception_inside_generate_leaves_nothing_behind(surface: str, name: str) -> None:
    lm = fresh_tiny_model(name)
    steered = SURFACES[surface](name).apply(lm)
    calls: list[Any] = []

    def fail(*_: Any) -> None:
        calls.append(None)
        if len(calls) == 3:
            raise KeyboardInterrupt

    handle = lm.resident.model.get_output_embeddings().register_forward_pre_hook(fail)
    before = state(lm.resident.model)
    with pytest.raises(KeyboardInterrupt):
        steered.generate(PROMPTS, max_new_tokens=6)
    assert state(lm.resident.model) == before
    handle.remove()


@every
def test_cached_batched_sampling_equals_the_slow_loop(surface: str, name: str) -> None:
    steered = SURFACES[surface](name).apply(tiny_model(name))
    samples = steered.generate(PROMPTS, max_new_tokens=4, seed=5)
    fresh = steered.logprobs([s.prompt_ids for s in samples], [s.token_ids for s in samples])
    with steered.engaged() as model:
        for sample, logprobs in zip(samples, fresh, strict=True):
            want = slow.sample(model, sample.prompt_ids, sample.seed, 4, steered.resident.eos_ids)
            assert list(sample.token_ids) == want
            torch.testing.assert_close(torch.tensor(sample.logprobs), logprobs, atol=BATCHED_LOGITS, rtol=0)


@every
def test_saved_and_loaded_gives_the_same_logits(surface: str, name: str, tmp_path: Path) -> None:
    lm, made = tiny_model(name), SURFACES[surface](name)
    loaded = load_intervention(saved(made, tmp_path / "run" / "adapter"))
    assert type(loaded) is type(made)
    assert loaded.surface == surface
    for strength in (1.0, -0.5) if made.graded else (1.0,):
        assert torch.equal(logits(loaded.apply(lm, strength)), logits(made.apply(lm, strength)))
    assert torch.equal(logits(load_intervention(tmp_path / "run").apply(lm)), logits(made.apply(lm)))


@every
def test_interventions_compose(surface: str, name: str) -> None:
    lm, made = tiny_model(name), SURFACES[surface](name)
    if not made.graded:
        pytest.skip("has no graded strength")
    halves = made.apply(made.apply(lm, 0.5), 0.5)
    torch.testing.assert_close(logits(halves), logits(made.apply(lm)), atol=1e-3, rtol=1e-3)
    opposite = made.apply(made.apply(lm), -1.0)
    torch.testing.assert_close(logits(opposite), logits(lm), atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("surface", SURFACES)
def test_another_model_is_refused(surface: str) -> None:
    with pytest.raises(UserError, match=r"made for gpt2 .* loaded model is llama"):
        SURFACES[surface]("gpt2").apply(tiny_model("llama"))


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize("strength", [float("nan"), float("inf"), float("-inf")])
def test_strengths_that_are_no_number_are_refused(surface: str, strength: float) -> None:
    with pytest.raises(UserError, match="finite"):
        SURFACES[surface]("gpt2").apply(tiny_model("gpt2"), strength)
