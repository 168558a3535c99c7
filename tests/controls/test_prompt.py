"""Prompting, with examples chosen by a recognizer."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from architectures import tiny_model, tiny_tokenizer
from dipole.concepts import Dipole, load_dipole
from dipole.controls.prompt import Prompt
from dipole.interventions.prompt import Prefix
from dipole.lm import LM
from dipole.models.resident import TransformersResident
from dipole.recognizers.velma import Velma
from dipole.types import DipoleWarning, UserError, scored_text

CHAT = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
NO_SYSTEM = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}" + CHAT


def chat_lm(template: str) -> LM:
    shared = tiny_model("llama").resident
    tokenizer = tiny_tokenizer(True).__class__(
        tokenizer_object=tiny_tokenizer(True).backend_tokenizer, bos_token="<s>", eos_token="</s>"
    )
    tokenizer.chat_template = template
    return LM(TransformersResident(shared.model, tokenizer, "chat"))


def read(lm: LM, prefix: Prefix, text: str, strength: float = 1.0) -> str:
    ids = lm.with_intervention(prefix, strength).prompt_ids(text)
    return str(lm.resident.tokenizer.decode(ids))


PREFIX = Prefix("Tea is best.", (("I like", " tea."),), "Coffee is best.", (("I like", " coffee."),))


def test_directive_and_examples_stand_before_the_text() -> None:
    lm = tiny_model("gpt2")
    assert read(lm, PREFIX, "I take") == "Tea is best. I like tea. I take"
    assert read(lm, PREFIX, "I take", -1.0) == "Coffee is best. I like coffee. I take"
    assert lm.prompt_ids("I take") == lm.resident.encode("I take")
    assert read(lm, PREFIX, "") == "Tea is best. I like tea."


def test_prefixes_stack_the_last_one_first() -> None:
    lm = tiny_model("gpt2")
    both = Prefix("B.").apply(Prefix("A.").apply(lm))
    assert lm.resident.tokenizer.decode(both.prompt_ids("x")) == "B. A. x"


def test_a_chat_template_gets_turns_and_no_second_start_token() -> None:
    lm = chat_lm(CHAT)
    want = "<system>Tea is best.<user>I like<assistant>tea.<user>I take<assistant>"
    assert read(lm, PREFIX, "I take") == want
    plain = LM(dataclasses.replace(lm.resident, plain=True))
    assert read(plain, Prefix("Tea is best."), "I take") == "<s>Tea is best. I take"


def test_a_template_without_a_system_turn_gets_the_directive_with_the_first_one() -> None:
    lm = chat_lm(NO_SYSTEM)
    want = "<user>Tea is best.\nI like<assistant>tea.<user>I take<assistant>"
    assert read(lm, PREFIX, "I take") == want
    assert read(lm, Prefix("Tea is best."), "I take") == "<user>Tea is best.\nI take<assistant>"


def test_there_is_no_opposite_where_none_was_made() -> None:
    with pytest.raises(UserError, match="no graded strength"):
        Prefix("A.").apply(tiny_model("gpt2"), -1.0)


def test_the_choice_is_kept_and_is_by_the_rule(mini: LM) -> None:
    dipole = load_dipole("paper_clips")
    prefix = Prompt(n=8, candidates=2, shots="0,1").fit(mini, dipole)
    selection = prefix.facts["selection"]
    assert [t["candidate"]["shots"] for t in selection["trials"]] == [0]  # which has all that there is
    assert not set(selection["prompts"]) & set(dipole.held_out)
    assert set(selection["prompts"]) <= set(dipole.prompts)
    assert len(prefix.examples) == selection["trials"][selection["chosen"]]["candidate"]["shots"]
    assert prefix.directive == dipole.claim
    assert prefix.opposite_directive == dipole.against


def test_examples_are_the_best_scored_of_those_that_ended(mini: LM) -> None:
    dipole = load_dipole("cats")
    control = Prompt(candidates=3, seed=4, max_new_tokens=5)
    prompts = dipole.prompts[:3]
    got = control._examples(mini, dipole, prompts)
    drawn = Prefix(dipole.claim).apply(mini).generate(prompts, 3, 5, 4)
    values = [s.value for s in Velma(mini).score([scored_text(d) for d in drawn], dipole)]
    assert {d.finish_reason for d in drawn} == {"eos", "length"}
    ended = [(v, d) for v, d in zip(values, drawn, strict=True) if d.finish_reason == "eos"]
    best = {p: max((v, d.text) for v, d in ended if d.prompt == p) for p in {d.prompt for _, d in ended}}
    want = sorted(best, key=lambda p: -best[p][0])
    assert got == tuple((p, best[p][1]) for p in want)
    assert not {p for p, _ in got} - set(prompts)


def test_one_that_an_older_version_made_says_where_its_setting_has_gone(tmp_path: Path) -> None:
    PREFIX.save(tmp_path)
    meta = json.loads((tmp_path / "dipole.json").read_text())
    (tmp_path / "dipole.json").write_text(json.dumps({**meta, "chat": True}))
    assert Prefix.load(tmp_path) == PREFIX
    (tmp_path / "dipole.json").write_text(json.dumps({**meta, "chat": False}))
    with pytest.warns(DipoleWarning, match="plain=True"):
        assert Prefix.load(tmp_path) == PREFIX


def test_saved_and_loaded(tmp_path: Path) -> None:
    PREFIX.save(tmp_path)
    loaded = Prefix.load(tmp_path)
    assert (loaded.directive, loaded.examples) == (PREFIX.directive, PREFIX.examples)
    assert loaded.opposite_examples == PREFIX.opposite_examples
    (tmp_path / "dipole.json").write_text('{"kind": "prefix"}')
    with pytest.raises(UserError, match="has no 'directive'"):
        Prefix.load(tmp_path)
    (tmp_path / "dipole.json").write_text('{"kind": "prefix", "directive": "a", "examples": [1]}')
    with pytest.raises(UserError, match=r"examples\[0\] must be a list of 2 entries"):
        Prefix.load(tmp_path)


@pytest.mark.parametrize(
    "fields", [{"shots": "a"}, {"shots": "-1"}, {"shots": ""}, {"n": 0}, {"template": "no place"}]
)
def test_meaningless_fields_are_refused(fields: dict[str, object]) -> None:
    with pytest.raises(UserError):
        Prompt(**fields)  # type: ignore[arg-type]


def test_a_dipole_without_prompts_is_refused() -> None:
    with pytest.raises(UserError, match="has no prompts"):
        Prompt().fit(tiny_model("gpt2"), Dipole("A is good.", "A is bad."))
