"""What every intervention promises (DESIGN section 6), over kinds and architectures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import dipole
import dipole.interventions as interventions
from architectures import ARCHITECTURES, WAYS, fresh_tiny_model, tiny_model, with_real, with_real_for
from contracts.recipes import INTERVENTIONS, saved
from contracts.state import state
from dipole.decoding.sampling import uniform_rows
from dipole.interventions import load_intervention
from dipole.lm import LM
from dipole.models import load
from dipole.protocols import Intervention
from dipole.types import UserError, sample_seed
from reference import generation as slow
from tolerance import BATCHED_LOGITS, deep

PROMPTS = ["Paper clips are", "", "If I had to choose between paper clips and staples,"]
RESPONSE = (9, 30, 31, 40, 50)
KINDS = tuple(INTERVENTIONS)
every = pytest.mark.parametrize(("kind", "name"), with_real_for(KINDS, list(ARCHITECTURES)))


def logits(lm: LM, text: str = PROMPTS[2], response: Sequence[int] = RESPONSE) -> Tensor:
    """What the LM says of a response; of one that chooses among continuations, the samples stand for it."""
    if lm.applied and lm.applied[-1].intervention.surface == "decode":
        drawn = lm.generate(text, n=3, max_new_tokens=4)
        return torch.tensor([[float(t) for t in (*s.token_ids, *[0] * 4)[:4]] for s in drawn])
    return lm.response_logits([text], [response])[0]


def base_logits(lm: LM, made: Intervention) -> Tensor:
    """What `logits` gives of the base, in the form that suits the intervention."""
    if made.surface != "decode":
        return logits(lm)
    drawn = lm.generate(PROMPTS[2], n=3, max_new_tokens=4)
    return torch.tensor([[float(t) for t in (*s.token_ids, *[0] * 4)[:4]] for s in drawn])


def test_every_kind_has_a_recipe() -> None:
    assert set(KINDS) == set(interventions.KINDS)


@every
def test_strength_0_is_the_base_bit_for_bit_and_1_is_not(kind: str, name: str) -> None:
    lm, made = tiny_model(name), INTERVENTIONS[kind](name)
    assert isinstance(made, Intervention)
    base = base_logits(lm, made)
    off = made.apply(lm, 0.0)
    assert torch.equal(base_logits(off, made), base)
    on = logits(made.apply(lm))
    assert not torch.allclose(on, base, atol=0.1) or made.surface == "decode"
    assert torch.equal(base_logits(lm, made), base)


@every
def test_the_resident_model_is_left_as_it_was(kind: str, name: str, tmp_path: Path) -> None:
    lm, made = tiny_model(name), INTERVENTIONS[kind](name)
    before = state(lm.resident.model)
    steered = made.apply(lm, 1.0)
    assert state(lm.resident.model) == before
    steered.generate(PROMPTS, max_new_tokens=3)
    steered.activations(PROMPTS, [0])
    steered.response_logits(PROMPTS, [[5], [6], [7]])
    made.save(tmp_path)
    assert state(lm.resident.model) == before
    assert lm.applied == ()


@every
def test_an_exception_inside_generate_leaves_nothing_behind(kind: str, name: str) -> None:
    lm = fresh_tiny_model(name)
    steered = INTERVENTIONS[kind](name).apply(lm)
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
def test_a_base_inside_a_steered_block_is_the_base(kind: str, name: str) -> None:
    lm, made = tiny_model(name), INTERVENTIONS[kind](name)
    if made.surface not in ("weights", "activations"):
        pytest.skip("changes nothing inside the model")
    base, on = logits(lm), logits(made.apply(lm))
    with made.apply(lm).engaged() as model:
        assert torch.equal(logits(lm), base)
        ids = torch.tensor([[*lm.prompt_ids(PROMPTS[2]), *RESPONSE]])
        again = model(input_ids=ids).logits[0, -len(RESPONSE) - 1 : -1]
        torch.testing.assert_close(again, on, atol=deep(BATCHED_LOGITS, name), rtol=0)
    assert torch.equal(logits(lm), base)


@every
def test_cached_batched_sampling_equals_the_slow_loop(kind: str, name: str) -> None:
    steered = INTERVENTIONS[kind](name).apply(tiny_model(name))
    samples = steered.generate(PROMPTS, max_new_tokens=4, seed=5)
    if steered.applied[0].intervention.surface == "decode":
        alone = [steered.sample([p], [sample_seed(5, i, 0)], 4)[0].token_ids for i, p in enumerate(PROMPTS)]
        assert [s.token_ids for s in samples] == alone
        return
    for sample in samples:
        assert list(sample.prompt_ids) == steered.prompt_ids(sample.prompt)
        # Alone, with its own tokens given: no padding, and nobody else in the batch.
        own = steered.response_logits([sample.prompt], [sample.token_ids])[0].float().log_softmax(-1)
        want = own.gather(-1, torch.tensor(sample.token_ids)[:, None]).squeeze(-1)
        torch.testing.assert_close(
            torch.tensor(sample.logprobs), want, atol=deep(BATCHED_LOGITS, name), rtol=0
        )
        uniforms = uniform_rows([sample.seed], 4)[0]
        drawn = [
            slow.inverse_cdf(row.double().exp().tolist(), float(u))
            for row, u in zip(own, uniforms, strict=False)
        ]
        assert drawn == list(sample.token_ids)
    if steered.applied[0].intervention.surface in ("weights", "activations", "prompt"):
        with _readable(steered).engaged() as model:
            for sample in samples:
                want_ids = slow.sample(model, sample.prompt_ids, sample.seed, 4, steered.resident.eos_ids)
                assert list(sample.token_ids) == want_ids


def _readable(lm: LM) -> LM:
    """What remains of the LM inside the model; prompts are given as ids."""
    return LM(lm.resident, tuple(a for a in lm.applied if a.intervention.surface != "prompt"))


@pytest.mark.parametrize(("kind", "name"), with_real_for(KINDS, WAYS))
def test_saved_and_loaded_gives_the_same_logits(kind: str, name: str, tmp_path: Path) -> None:
    lm, made = tiny_model(name), INTERVENTIONS[kind](name)
    loaded = load_intervention(saved(made, tmp_path / "run" / "adapter"))
    assert type(loaded) is type(made)
    assert loaded.surface == made.surface
    for strength in (1.0, -0.5) if made.graded else (1.0,):
        assert torch.equal(logits(loaded.apply(lm, strength)), logits(made.apply(lm, strength)))
    assert torch.equal(logits(load_intervention(tmp_path / "run").apply(lm)), logits(made.apply(lm)))


@every
def test_a_strength_that_it_does_not_have_is_refused(kind: str, name: str) -> None:
    made = INTERVENTIONS[kind](name)
    if made.graded:
        assert made.apply(tiny_model(name), 0.5).applied[0].strength == 0.5
    else:
        with pytest.raises(UserError, match="no graded strength"):
            made.apply(tiny_model(name), 0.5)


@pytest.mark.parametrize("name", with_real(list(ARCHITECTURES)))
def test_adapters_add_up(name: str) -> None:
    lm, made = tiny_model(name), INTERVENTIONS["adapter"](name)
    halves = made.apply(made.apply(lm, 0.5), 0.5)
    torch.testing.assert_close(logits(halves), logits(made.apply(lm)), atol=1e-3, rtol=1e-3)
    opposite = made.apply(made.apply(lm), -1.0)
    torch.testing.assert_close(logits(opposite), logits(lm), atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("name", with_real(list(ARCHITECTURES)))
def test_all_kinds_together_are_released_and_saved(name: str, tmp_path: Path) -> None:
    lm = fresh_tiny_model(name)
    before, base = state(lm.resident.model), logits(lm)
    steered = lm
    for kind in KINDS:
        steered = INTERVENTIONS[kind](name).apply(steered, 1.0)
    drawn = steered.generate(PROMPTS, max_new_tokens=3)
    assert drawn == steered.generate(PROMPTS, max_new_tokens=3)
    assert state(lm.resident.model) == before
    assert torch.equal(logits(lm), base)
    dipole.save(steered, tmp_path / "lm")
    loaded = lm
    for index, applied in enumerate(steered.applied):
        folder = tmp_path / "lm" / f"{index}-{applied.intervention.kind}"
        loaded = load_intervention(folder).apply(loaded, applied.strength)
    assert loaded.generate(PROMPTS, max_new_tokens=3) == drawn


def test_a_saved_lm_loads_by_its_folder(tmp_path: Path) -> None:
    lm = INTERVENTIONS["prefix"]("mini").apply(load("mini"), -1.0)
    dipole.save(lm, tmp_path / "lm")
    again = load(str(tmp_path / "lm"))
    assert again.generate("I like", seed=3) == lm.generate("I like", seed=3)
    assert [a.strength for a in again.applied] == [-1.0]
    with pytest.raises(UserError, match="already holds"):
        dipole.save(lm, tmp_path / "lm")
    (tmp_path / "lm" / "lm.json").write_text("{")
    with pytest.raises(UserError, match="corrupt"):
        load(str(tmp_path / "lm"))


@pytest.mark.parametrize("kind", KINDS)
def test_another_model_is_refused(kind: str) -> None:
    made = INTERVENTIONS[kind]("gpt2")
    if getattr(made, "base_fingerprint", None) is None:
        made.apply(tiny_model("llama"))
        return
    with pytest.raises(UserError, match=r"made for gpt2 .* loaded model is llama"):
        made.apply(tiny_model("llama"))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("strength", [float("nan"), float("inf"), float("-inf")])
def test_strengths_that_are_no_number_are_refused(kind: str, strength: float) -> None:
    with pytest.raises(UserError, match="finite"):
        INTERVENTIONS[kind]("gpt2").apply(tiny_model("gpt2"), strength)
