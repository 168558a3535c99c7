"""What is found out about a model by trying it."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from architectures import fresh_tiny_model, names, tiny_model, with_real
from dipole.interventions.activations import SteeringVector
from dipole.lm import LM
from dipole.models.probe import Probe
from dipole.models.resident import TransformersResident
from dipole.models.seen import deviation
from dipole.types import UserError
from families import fresh_family
from machine import needs_bfloat16

# Family: left padding, right padding, positions told, cache.
FOUND: dict[str, tuple[bool, bool, bool, str]] = {
    "rwkv": (False, True, True, "no"),  # ignores the mask, keeps a state
    "recurrent_gemma": (False, True, True, "no"),  # keeps a state in its modules while it is continued
    "xlstm": (False, True, True, "no"),
    "mamba": (True, True, False, "no"),
    "mamba2": (True, True, False, "ragged"),
    "jamba": (True, True, True, "ragged"),
    "lfm2": (True, True, True, "ragged"),
    "falcon_h1": (True, True, True, "ragged"),
    "minimax": (True, True, True, "no"),  # wants a cache of its own kind
    "openai-gpt": (True, True, True, "no"),
    "bart": (False, True, False, "even"),  # counts positions over padding
    "roberta": (True, True, False, "even"),  # counts positions from 2 on
    "xlm-roberta": (True, True, False, "even"),
    "gemma": (True, True, True, "ragged"),
    "gemma2": (True, True, True, "ragged"),
    "llama": (True, True, True, "ragged"),
}


def found(probe: Probe) -> tuple[bool, bool, bool, str]:
    return probe.left, probe.right, probe.positions, probe.caches


def lm_of(model: Any, like: LM) -> LM:
    return LM(TransformersResident(model, like.resident.tokenizer, "tried"))


@pytest.mark.parametrize("name", FOUND)
def test_families_differ_in_what_they_keep_to(name: str) -> None:
    resident = fresh_family(name).resident
    resident.probe.require()
    got = found(resident.probe)
    told = FOUND[name][2] if "position_ids" in resident.forward_parameters else got[2]
    assert got == (*FOUND[name][:2], told, FOUND[name][3])


@pytest.mark.parametrize("dtype", [pytest.param(torch.bfloat16, marks=needs_bfloat16), torch.float64])
@pytest.mark.parametrize("name", ["rwkv", "recurrent_gemma", "bart", "roberta", "lfm2", "llama", "gemma"])
def test_other_number_types_are_judged_alike(name: str, dtype: torch.dtype) -> None:
    lm = fresh_family(name)
    narrow = lm_of(lm.resident.model.to(dtype), lm).resident.probe
    narrow.require()
    assert (narrow.left, narrow.right, narrow.caches) == (*FOUND[name][:2], FOUND[name][3])


@pytest.mark.parametrize("name", with_real(names()))
def test_healthy_models_keep_to_everything(name: str) -> None:
    assert found(tiny_model(name).resident.probe) == (True, True, True, "ragged")


@pytest.mark.parametrize("flat", ["head", "all"])
@pytest.mark.parametrize("name", ["rwkv", "bart", "llama"])
def test_flat_outputs_hide_nothing(name: str, flat: str) -> None:
    """A head that says the same of every text, and weights as small as those of an untrained model."""
    lm = fresh_family(name)
    model = lm.resident.model
    with torch.no_grad():
        if flat == "head":
            model.get_output_embeddings().weight = nn.Parameter(
                torch.zeros_like(model.get_output_embeddings().weight), requires_grad=False
            )
        else:
            for parameter in model.parameters():
                parameter.mul_(0.08 if parameter.ndim > 1 else 1)
    probe = lm_of(model, lm).resident.probe
    probe.require()
    assert probe.left is FOUND[name][0]


def test_deviation_by_hand() -> None:
    scale = torch.tensor([[[1.0, 0.0], [-1.0, 0.0]]])  # spread: root mean square of 1, 0, -1, 0
    truth = torch.zeros(1, 2, 2)
    off = torch.tensor([[[0.0, 0.0], [0.3, 0.4]]])
    assert deviation(off, truth, scale) == pytest.approx((0.25 / 2) ** 0.5 / 0.5**0.5)
    assert deviation(truth, truth, torch.zeros(1, 2, 2)) == 0
    assert deviation(off, truth, torch.ones(1, 2, 2)) == float("inf")


@pytest.mark.parametrize("how", ["steered", "training"])
@pytest.mark.parametrize("name", ["rwkv", "gpt2"])
def test_it_is_the_base_that_is_tried_whatever_is_engaged(name: str, how: str) -> None:
    lm = fresh_family(name)
    model, want = lm.resident.model, lm_of(copy.deepcopy(lm.resident.model), lm).resident.probe
    random = torch.random.get_rng_state()
    if how == "steered":
        drowning = SteeringVector((3,), torch.full((1, 32), 1e9))  # beside it no difference is left
        with drowning.apply(lm).engaged():
            assert found(lm.resident.probe) == found(want)
    else:
        for module in model.modules():
            module.p = 0.5 if isinstance(module, nn.Dropout) else 0
        model.train()
        assert found(lm.resident.probe) == found(want)
        assert model.training
    assert torch.equal(torch.random.get_rng_state(), random)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


class _Remembers(nn.Module):
    """Adds what it gave last time."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.last = inner, torch.zeros(())

    def forward(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        given: torch.Tensor = self.inner(*args, **kwargs) + self.last
        self.last = given.mean()
        return given


def test_a_model_that_remembers_its_last_call_is_refused() -> None:
    lm = fresh_tiny_model("llama")
    lm.resident.model.model.layers[0].mlp = _Remembers(lm.resident.model.model.layers[0].mlp)
    for use in (
        lambda: lm.generate("The cats"),
        lambda: lm.logprobs([[5]], [[6]]),
        lambda: lm.activations(["The cats"], [0]),
        lambda: lm.response_logits(["The cats"], [[6]]),
    ):
        with pytest.raises(UserError, match="other numbers when it is called a second time"):
            use()


class _Mixes(_Remembers):
    """Adds what the rows of a batch have in common."""

    def forward(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        given: torch.Tensor = self.inner(*args, **kwargs)
        return given + given.mean(0)


def test_a_model_whose_rows_change_each_other_is_refused() -> None:
    lm = fresh_tiny_model("llama")
    lm.resident.model.model.layers[0].mlp = _Mixes(lm.resident.model.model.layers[0].mlp)
    for use in (lambda: lm.logprobs([[5], [6, 7]], [[6], [7]]), lambda: lm.generate("The cats", n=2)):
        with pytest.raises(UserError, match="the rows of one batch change each other"):
            use()


class _Random(_Remembers):
    def forward(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        given: torch.Tensor = self.inner(*args, **kwargs)
        return given + 0.1 * torch.randn_like(given)


def test_a_model_that_draws_while_it_reads_is_refused() -> None:
    lm = fresh_tiny_model("gpt2")
    lm.resident.model.transformer.h[0].mlp = _Random(lm.resident.model.transformer.h[0].mlp)
    with pytest.raises(UserError, match=r"other numbers|a later token"):
        lm.generate("The cats")


def test_a_model_that_needs_more_than_text_is_refused() -> None:
    lm = fresh_family("xmod")
    lm.resident.model.config.default_language = None
    with pytest.raises(UserError, match=r"can't be read from tokens alone \(Input language unknown"):
        lm.generate("The cats")


def test_an_overflowing_model_is_not_judged() -> None:
    lm = fresh_tiny_model("llama")
    with torch.no_grad():
        lm.resident.model.lm_head.weight.fill_(torch.nan)
    assert found(lm.resident.probe) == (True, True, True, "ragged")
    with pytest.raises(UserError, match="overflowed"):
        lm.generate("The cats")


def test_what_nobody_asks_for_is_not_tried() -> None:
    lm = fresh_tiny_model("gpt2")
    lm.resident.probe.require()
    read: list[tuple[int, ...]] = []
    lm.resident.model.transformer.wte.register_forward_hook(lambda _m, args, _o: read.append(args[0].shape))
    lm.logprobs([[5, 6], [7, 8]], [[9], [10]])
    lm.token_activations([[5, 6], [7, 8]], [0])
    assert read == [(2, 3), (2, 2)]
    lm.logprobs([[5, 6], [7]], [[9], [10]])  # ragged: padding on the left is tried first
    assert read[2:] == [(2, 22), (1, 6), (2, 3)]
    lm.logprobs([[5, 6], [7]], [[9], [10]])
    assert read[5:] == [(2, 3)]


@pytest.mark.parametrize("size", [3, 4, 9, 12, 36, 72, 300])
def test_what_is_changed_differs_everywhere_in_any_vocabulary(size: int) -> None:
    """With a regular step, 9 words gave the changed tokens again, and an encoder passed as causal."""

    class Tokens:
        pad_token_id, eos_token_id, bos_token_id, all_special_ids = 0, None, None, ()

        def __len__(self) -> int:
            return size

    model = copy.deepcopy(tiny_model("llama").resident.model)
    model.resize_token_embeddings(size)
    probe = Probe(TransformersResident(model, Tokens(), "small"))
    half = len(probe._long) // 2
    assert probe._changed[:half] == probe._long[:half]
    assert all(a != b for a, b in zip(probe._changed[half:], probe._long[half:], strict=True))
    assert 0 not in {*probe._long, *probe._changed}
    assert max(*probe._long, *probe._changed) < size
