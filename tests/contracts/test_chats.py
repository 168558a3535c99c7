"""Every control on a model that reads chats: nothing that it does reads a prompt in another form."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from chats import family_lm
from contracts.recipes import CONTROLS, DIPOLE, concept_for
from dipole import registry
from dipole.lm import LM
from dipole.models.resident import TransformersResident
from dipole.protocols import Run

LIKE = "chatml"


def _told(lm: LM) -> list[int]:
    """What every prompt begins with in this family."""
    return list(lm.resident.tokenizer("<|im_start|>", add_special_tokens=False)["input_ids"])


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Prompts of the dipole that were read as the end of a text, by whoever is no recognizer."""
    found: list[str] = []
    encode = TransformersResident.encode

    def listening(self: Any, text: str) -> list[int]:
        by_a_recognizer = any("recognizers" in frame.filename for frame in inspect.stack(0))
        if text.endswith(DIPOLE.prompts) and not by_a_recognizer:
            found.append(text)
        return encode(self, text)

    monkeypatch.setattr(TransformersResident, "encode", listening)
    return found


@pytest.mark.parametrize("control", CONTROLS)
def test_a_control_is_fitted_and_at_work_in_a_chat(control: str, bare: list[str]) -> None:
    lm = family_lm(LIKE)
    made = registry.resolve(registry.CONTROLS, control)(**CONTROLS[control])
    fitted = made.fit(lm, concept_for(control), Run())
    steered = fitted.apply(lm)
    samples = steered.generate(DIPOLE.prompts, 2, 4, seed=1)
    assert all(list(s.prompt_ids)[:1] == _told(lm) for s in samples)
    assert all(s.full_text == f"{s.prompt}\n{s.text}" for s in samples)
    alone = [s for i, p in enumerate(DIPOLE.prompts) for s in steered.generate(p, 2, 4, seed=1, first=i)]
    assert [s.token_ids for s in samples] == [s.token_ids for s in alone]
    off = fitted.apply(lm, 0.0).generate(DIPOLE.prompts, 1, 4, seed=1)
    base = lm.generate(DIPOLE.prompts, 1, 4, seed=1)
    assert [s.token_ids for s in off] == [s.token_ids for s in base]
    assert bare == []


def test_what_listens_hears(bare: list[str]) -> None:
    plain = family_lm(LIKE, plain=True)
    plain.prompt_ids(DIPOLE.prompts[0])
    assert bare == [DIPOLE.prompts[0]]
