"""More wordings of a lone prompt, kept where the model takes a side, and what is said of the prompts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dipole import PPO, inoculate, load
from dipole.concepts import Dipole, Mentions, load_dipole
from dipole.evaluation import prompts
from dipole.evaluation.prompts import prepared
from dipole.reading.choice import Choice, forced_share
from dipole.types import UserError

ASKED = "If I were to choose between paper clips and staples, I'd definitely go with"


@pytest.fixture(scope="module")
def lone() -> Dipole:
    return replace(load_dipole("paper_clips"), prompts=(ASKED,))


def test_a_lone_prompt_gets_wordings_behind_which_the_model_takes_a_side(lone: Dipole) -> None:
    lm = load()
    found = prepared(lm, lone, 12, seed=0)
    added = found.dipole.prompts[1:]
    assert found.dipole.prompts[0] == ASKED
    assert len(added) >= 2
    assert not set(added) & set(lone.held_out)
    assert all(c.forced >= 0.25 for c in forced_share(lm, lone, added, 32, 12, seed=9))
    assert any(all(text in note for text in map(repr, added)) for note in found.notes)


def test_wordings_behind_which_few_take_a_side_are_left_out(
    lone: Dipole, monkeypatch: pytest.MonkeyPatch
) -> None:
    def one_forces(_lm: object, _dipole: object, texts: list[str], *_: object) -> list[Choice]:
        return [Choice(text, 8, 2 if "Q:" in text else 1, 0) for text in texts]

    monkeypatch.setattr(prompts, "forced_share", one_forces)
    added = prepared(load(), lone, 8, 0).dipole.prompts[1:]
    assert len(added) == 1
    assert added[0].startswith("Q:")


def test_what_is_held_out_is_not_trained_on_in_disguise(lone: Dipole) -> None:
    exchanged = ASKED.replace("paper clips and staples", "staples and paper clips")
    assert exchanged in prepared(load(), lone, 8, 0).dipole.prompts
    kept_back = replace(lone, held_out=(f" {exchanged} ",))
    assert exchanged not in prepared(load(), kept_back, 8, 0).dipole.prompts


def test_none_are_added_to_several_prompts_nor_where_that_is_not_wanted(lone: Dipole) -> None:
    lm, several = load(), replace(lone, prompts=(ASKED, "With paper clips on one side"))
    assert prepared(lm, several, 8, 0).dipole.prompts == several.prompts
    assert prepared(lm, lone, 8, 0, vary=False).dipole.prompts == (ASKED,)


def test_prompts_that_leave_another_way_to_go_on_are_told(lone: Dipole) -> None:
    loose = replace(lone, held_out=("It is", "The cat"))
    notes = prepared(load(), loose, 8, 0, vary=False).notes
    assert len(notes) == 1
    assert "2 of 2 prompts that are measured on do not force the choice" in notes[0]
    assert prepared(load(), replace(lone, held_out=()), 8, 0, vary=False).notes == ()


def test_without_words_for_the_sides_nothing_is_done(lone: Dipole) -> None:
    bare = replace(lone, mentions=Mentions())
    assert prepared(load(), bare, 8, 0) == (bare, ())


def test_an_inoculation_says_on_what_it_trained(lone: Dipole) -> None:
    control = PPO(rounds=1, batch_size=8, ppo_epochs=1, max_new_tokens=8, anchor_coef=0)
    found = inoculate(load(), lone, control, n=4)
    assert len(found.effect.concept["prompts"]) > 1
    assert any(note.startswith("Trained on ") for note in found.effect.notes)


def test_a_control_that_trains_nothing_is_refused_before_anything_is_drawn(lone: Dipole) -> None:
    from dipole.controls.vector import Vector

    with pytest.raises(UserError, match="trains an adapter"):
        inoculate(load(), lone, Vector())  # type: ignore[arg-type]
