"""What every control promises (DESIGN section 6), over the registry and over architectures."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from architectures import WAYS, fresh_tiny_model, tiny_model, with_real_for
from contracts.recipes import CONTROLS, concept_for
from contracts.state import state
from contracts.test_interventions import base_logits, logits
from dipole import registry
from dipole.interventions import load_intervention
from dipole.interventions.folder import judged_by, read_meta
from dipole.protocols import Intervention, Run
from dipole.types import UserError

# On the real model one of those that share a loop is enough.
ALIKE = ("rloo", "best_of_distil", "kto", "dpf")
every = pytest.mark.parametrize(
    ("control", "name"),
    [
        *((control, name) for control in ALIKE for name in WAYS),
        *with_real_for([control for control in CONTROLS if control not in ALIKE], WAYS),
    ],
)


# Can do without a concept, but not with the fields of their recipes.
WITHOUT = ("pool", "ppo", "grpo", "rloo", "sft", "best_of_distil", "dpo", "kto", "dpf")


def _made(control: str) -> Any:
    return registry.resolve(registry.CONTROLS, control)(**CONTROLS[control])


def _fields(control: str) -> set[str]:
    return {option.name for option in registry.options(registry.resolve(registry.CONTROLS, control))}


def test_every_control_has_a_recipe() -> None:
    assert set(CONTROLS) == set(registry.CONTROLS)


@pytest.mark.parametrize("control", CONTROLS)
def test_a_control_is_a_frozen_dataclass_with_its_name(control: str) -> None:
    made = _made(control)
    assert made.name == control
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.name = "other"


@pytest.mark.parametrize("control", CONTROLS)
def test_what_a_control_declares_is_what_it_does(control: str, tmp_path: Path) -> None:
    """Its artefact is of the class and surface that it says, has strengths or not, and names its judges."""
    declared, lm = _made(control), tiny_model("gpt2")
    without = declared.optional_concept and control not in WITHOUT
    for concept in (concept_for(control), *((None,) if without else ())):
        made = declared.fit(lm, concept, Run())
        assert type(made) is declared.makes
        assert (made.surface, made.graded) == (declared.surface, declared.graded)
    made.save(tmp_path)
    assert judged_by(read_meta(tmp_path)) == declared.judged_by
    asked = [recognizer for names in declared.judged_by for recognizer in names]
    assert set(asked) <= set(registry.RECOGNIZERS)
    if declared.takes and not declared.optional_concept:
        with pytest.raises(UserError, match="NoneType"):
            declared.fit(lm, None)


@pytest.mark.parametrize("control", CONTROLS)
def test_the_judges_that_it_names_are_those_that_it_asks(
    control: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever is asked for a score while it is fitted, or while what it made writes."""
    asked: set[str] = set()

    def listening(name: str, score: Any) -> Any:
        def listen(*given: Any) -> Any:
            asked.add(name)
            return score(*given)

        return listen

    for name in registry.RECOGNIZERS:
        made = registry.resolve(registry.RECOGNIZERS, name)
        monkeypatch.setattr(made, "score", listening(name, made.score))
    declared, lm = _made(control), tiny_model("gpt2")
    declared.fit(lm, concept_for(control)).apply(lm).generate("The cats", max_new_tokens=3)
    assert asked == {*declared.judged_by.rewarded, *declared.judged_by.chosen}


@pytest.mark.parametrize("control", [c for c in CONTROLS if {"recognizer", "reward"} & _fields(c)])
def test_who_judges_follows_the_settings(control: str) -> None:
    field = "reward" if "reward" in _fields(control) else "recognizer"
    declared = dataclasses.replace(_made(control), **{field: "mentions"})
    assert declared.judged_by.rewarded == ("mentions",)


@every
def test_fit_leaves_the_model_as_it_was_and_gives_an_intervention(
    control: str, name: str, tmp_path: Path
) -> None:
    lm = tiny_model(name)
    before, base, random_state = state(lm.resident.model), logits(lm), torch.random.get_rng_state()
    made = _made(control).fit(lm, concept_for(control))
    assert state(lm.resident.model) == before
    assert torch.equal(logits(lm), base)
    assert torch.equal(torch.random.get_rng_state(), random_state)
    assert isinstance(made, Intervention)
    assert torch.equal(base_logits(made.apply(lm, 0.0), made), base_logits(lm, made))
    made.save(tmp_path)
    assert torch.equal(logits(load_intervention(tmp_path).apply(lm)), logits(made.apply(lm)))


@pytest.mark.parametrize("control", CONTROLS)
def test_the_same_seed_gives_the_same_intervention(control: str) -> None:
    lm = tiny_model("gpt2")
    one, other = (_made(control).fit(lm, concept_for(control)) for _ in range(2))
    assert torch.equal(logits(one.apply(lm)), logits(other.apply(lm)))


@pytest.mark.parametrize("control", CONTROLS)
def test_an_exception_inside_fit_leaves_nothing_behind(control: str) -> None:
    lm = fresh_tiny_model("gpt2")
    calls: list[None] = []

    def fail(*_: Any) -> None:
        calls.append(None)
        if len(calls) == 7:
            raise RuntimeError("from a hook")

    probe = lm.resident.probe  # which takes what a model raises for an answer
    assert probe.left
    assert probe.right
    assert probe.caches == "ragged"
    handle = lm.resident.model.get_output_embeddings().register_forward_pre_hook(fail)
    before = state(lm.resident.model)
    raised = None
    try:
        _made(control).fit(lm, concept_for(control))
    except RuntimeError as error:
        raised = str(error)
    # Some fits hardly ask the model; none may swallow the error.
    assert raised == ("from a hook" if len(calls) >= 7 else None)
    assert state(lm.resident.model) == before
    handle.remove()


@pytest.mark.parametrize("control", CONTROLS)
def test_a_wrong_concept_is_refused(control: str) -> None:
    class Mood:
        kind = "mood"
        prompts = ("a",)

    with pytest.raises(UserError, match="mood"):
        _made(control).fit(tiny_model("gpt2"), Mood())
