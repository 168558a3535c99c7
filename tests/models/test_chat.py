"""Chat templates that drop, refuse, reorder or break: the directive is seen, carried, or refused aloud."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from architectures import BOS, EOS, fresh_tiny_model
from chats import TURNS, chat_lm
from dipole.concepts import Dipole
from dipole.controls.prompt import Prompt
from dipole.interventions import load_intervention
from dipole.interventions.prompt import Prefix
from dipole.lm import LM
from dipole.models.resident import TransformersResident
from dipole.report.card import fitted_card
from dipole.types import DipoleWarning, UserError

DROPS = TURNS.replace("messages %}", "messages if m.role != 'system' %}")
REFUSES = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    + TURNS
)
# As Mistral's and Gemma's: user and assistant by turns, from the user on.
ALTERNATES = (
    "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "[{{ m.role }}] {{ m.content }} {% endfor %}"
)
LAST_TURN = "{{ '[INST] ' + messages[-1].content + ' [/INST]' }}"
LAST_CARRIES_SYSTEM = (
    "{% set s = messages[0].content if messages[0].role == 'system' else '' %}"
    "{% for m in messages if m.role != 'system' %}{% if loop.last and s %}{{ s + '\n\n' }}{% endif %}"
    "<s>{{ m.content }}</s>{% endfor %}"
)
PARTS = (
    "{% for m in messages %}<s>{{ m.role }}: "
    "{% for part in m.content if part.type == 'text' %}{{ part.text }}{% endfor %}</s>{% endfor %}"
)
FIRST = "in front of the first turn of the user"
ONE = "with the examples in the one turn of the user"
SHOUTS = "{% for m in messages %}{{ m.content | upper }}{% endfor %}"
SHORTENS = "{% for m in messages %}{{ m.content[:9] }}{% endfor %}"
SYNTAX = "{% for m in messages %}{{ m.content }}"
UNDEFINED = "{{ nothing.there.at_all }}"
WRONG_TYPES = "{{ messages[0].content + 3 }}"
DIVIDES = "{{ 1 // 0 }}"
SILENT = "hello"

PREFIX = Prefix("Tea is best.", (("I like", "tea."),), "Coffee is best.", (("I like", "coffee."),))
ALONE = Prefix("Tea is best.", (), "Coffee is best.")


def read(lm: LM, prompt: str = "I take") -> str:
    return str(lm.resident.tokenizer.decode(lm.prompt_ids(prompt)))


def applied(prefix: Prefix, template: Any, strength: float = 1.0) -> tuple[LM, list[str]]:
    with pytest.warns(DipoleWarning) as caught:
        lm = prefix.apply(chat_lm(template), strength)
    return lm, [str(w.message) for w in caught]


def test_turns_are_the_templates_own_where_it_shows_them() -> None:
    lm = PREFIX.apply(chat_lm(TURNS))
    wanted = (
        "<s>system: Tea is best.</s><s>user: I like</s><s>assistant: tea.</s><s>user: I take</s><s>assistant:"
    )
    assert read(lm) == wanted
    turns = [
        {"role": "system", "content": "Tea is best."},
        {"role": "user", "content": "I like"},
        {"role": "assistant", "content": "tea."},
        {"role": "user", "content": "I take"},
    ]
    ids = lm.resident.tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=False)
    assert lm.prompt_ids("I take") == ids
    last = PREFIX.apply(chat_lm(LAST_CARRIES_SYSTEM))
    assert read(last) == "<s>I like</s><s>tea.</s>Tea is best.\n\n<s>I take</s>"


@pytest.mark.parametrize("template", [DROPS, REFUSES])
@pytest.mark.parametrize("prefix", [PREFIX, ALONE])
def test_a_template_without_a_system_turn_gets_the_directive_in_the_first_turn(
    template: str, prefix: Prefix
) -> None:
    lm, said = applied(prefix, template)
    other, _ = applied(prefix, template, -1.0)
    assert FIRST in said[0]
    assert "<s>user: Tea is best.\nI " in read(lm)
    assert "<s>user: Coffee is best.\nI " in read(other)
    assert lm.prompt_ids("x") != other.prompt_ids("x")
    assert "system" not in read(lm)


def test_turns_that_must_alternate_do() -> None:
    lm, _ = applied(PREFIX, ALTERNATES)
    assert read(lm) == "[user] Tea is best.\nI like [assistant] tea. [user] I take "


def test_a_template_of_one_turn_gets_everything_in_it() -> None:
    lm, said = applied(PREFIX, LAST_TURN)
    assert ONE in said[0]
    assert read(lm) == "[INST] Tea is best.\nI like\ntea.\nI take [/INST]"
    alone, said = applied(ALONE, LAST_TURN)
    assert FIRST in said[0]
    assert read(alone) == "[INST] Tea is best.\nI take [/INST]"


def test_a_template_of_parts_gets_parts() -> None:
    lm = PREFIX.apply(chat_lm(PARTS))
    assert read(lm).startswith("<s>system: Tea is best.</s><s>user: I like</s>")


@pytest.mark.parametrize(
    ("template", "why"),
    [
        (SHOUTS, "not in what it writes"),
        (SHORTENS, "not in what it writes"),
        (SILENT, "not in what it writes"),
        (SYNTAX, "it says"),
        (UNDEFINED, "it says"),
        (WRONG_TYPES, "it says"),
        (DIVIDES, "it says"),
        ("{{ raise_exception('never') }}", "it says: never"),
    ],
)
def test_a_template_that_can_carry_it_nowhere_is_refused_when_it_is_applied(template: str, why: str) -> None:
    lm = chat_lm(template)
    with pytest.raises(UserError, match=why) as caught:
        PREFIX.apply(lm)
    assert "(plain=True)" in str(caught.value)
    with pytest.raises(UserError, match=why):
        PREFIX.apply(lm, 0.0).prompt_ids("I take what I want, said he")
    plain = chat_lm(template, plain=True)
    ids = plain.resident.encode("Tea is best. x")
    assert Prefix("Tea is best.").apply(plain).prompt_ids("x") == ids


def test_a_directive_that_the_template_or_the_prompt_says_anyway_is_no_directive_seen() -> None:
    lm, _ = applied(Prefix("assistant"), DROPS)
    assert read(lm, "assistant").count("assistant") == 3
    lm, _ = applied(Prefix("I take"), DROPS)
    assert read(lm).count("I take") == 2


def test_a_prompt_that_a_template_drops_is_refused_where_it_is_used() -> None:
    picky = TURNS.replace("messages %}", "messages if 'secret' not in m.content %}")
    lm = ALONE.apply(chat_lm(picky))
    with pytest.raises(UserError, match="not in what it writes"):
        lm.prompt_ids("a secret")


@pytest.mark.parametrize(
    "named",
    [
        {"default": TURNS, "tool_use": SILENT},
        {"only": TURNS},
        [{"name": "tool_use", "template": SILENT}, {"name": "default", "template": TURNS}],
    ],
)
def test_of_named_templates_the_default_or_the_only_one_is_taken(named: Any) -> None:
    assert read(ALONE.apply(chat_lm(named))).startswith("<s>system: Tea is best.</s>")


def test_several_named_templates_without_a_default_are_refused_by_name() -> None:
    with pytest.raises(UserError, match=r"\(rag, tool_use\) and none that is called default"):
        ALONE.apply(chat_lm({"tool_use": TURNS, "rag": TURNS}))


def test_what_turns_spell_is_text_and_what_the_template_writes_is_control() -> None:
    spelled = Prefix("Tea </s> is best.", (("I like <s>", "tea</s>."),))
    lm = spelled.apply(chat_lm(TURNS))
    ids = lm.prompt_ids("I </s> take<s>")
    assert read(lm, "I </s> take<s>") == (
        "<s>system: Tea </s> is best.</s><s>user: I like <s></s><s>assistant: tea</s>.</s>"
        "<s>user: I </s> take<s></s><s>assistant:"
    )
    assert ids.count(EOS) == 4
    told = spelled.apply(chat_lm(TURNS, special_tokens_in_text=True))
    assert told.prompt_ids("I </s> take<s>").count(EOS) == 7
    private = "\U000f0000\U000f0001"
    assert read(lm, private).endswith(f"<s>user: {private}</s><s>assistant:")


def test_the_token_for_unknown_words_is_not_spelled_in_a_turn_either() -> None:
    """SmolLM2's is `<|endoftext|>`, and no other token is called that."""
    tokenizer = chat_lm(TURNS).resident.tokenizer
    tokenizer.unk_token, tokenizer.eos_token = "</s>", "<s>"
    model = fresh_tiny_model("llama").resident.model
    model.generation_config.eos_token_id = None
    lm = ALONE.apply(LM(TransformersResident(model, tokenizer, "chat")))
    assert lm.resident.eos_ids == {BOS}
    assert lm.prompt_ids("a </s>").count(EOS) == 2


def test_a_saved_prefix_is_looked_at_again_on_another_model(tmp_path: Path) -> None:
    PREFIX.apply(chat_lm(TURNS))
    PREFIX.save(tmp_path)
    loaded = load_intervention(tmp_path)
    assert isinstance(loaded, Prefix)
    assert FIRST in applied(loaded, DROPS)[1][0]
    with pytest.raises(UserError, match="can't carry"):
        loaded.apply(chat_lm(SILENT))


def test_a_fit_says_where_the_directive_stands() -> None:
    dipole = Dipole("Tea is best.", "Tea is worst.", prompts=("I like", "I take"))
    prompt = Prompt(template="{pole}", shots="0", n=2, max_new_tokens=3)
    with pytest.warns(DipoleWarning, match=FIRST):
        made = prompt.fit(chat_lm(DROPS), dipole)
    assert FIRST in made.facts["notes"][0]
    meta = {"kind": "prefix", "surface": "prompt", "facts": made.facts}
    assert made.facts["notes"][0] in fitted_card(meta, {"model": {"name": "chat"}}).replace("\\", "")
    assert "notes" not in prompt.fit(chat_lm(TURNS), dipole).facts
