"""A model with a chat template is spoken to through it, by everything that writes, reads and measures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer, LlamaForCausalLM

from architectures import ARCHITECTURES, tiny_model
from chats import TURNS, chat_lm
from dipole import load, save
from dipole.concepts import Dipole
from dipole.controls.weights.given import given_texts
from dipole.controls.weights.sft import SFT
from dipole.decoding.guides import Row, Session
from dipole.interventions.logits import Contrast, made_for
from dipole.interventions.prompt import Prefix
from dipole.lm import LM
from dipole.origin import named
from dipole.pointing.prefixes import rows_of
from dipole.reading.losses import losses
from dipole.reading.pairs import CHAT_WORDINGS, WORDINGS, read_pairs
from dipole.reading.told import leanings, tell, told_by
from dipole.types import scored_text
from tolerance import BATCHED_LOGITS, SCORE

DIPOLE = Dipole("Tea is best.", "Tea is worst", prompts=("I like", "I take"))


def rendered(lm: LM, *turns: tuple[str, str]) -> list[int]:
    """Ids of turns by the tokenizer's own method."""
    chat = [{"role": role, "content": content} for role, content in turns]
    ids: Any = lm.resident.tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=False)
    return list(ids)


def test_a_prompt_is_what_the_user_says() -> None:
    lm = chat_lm(TURNS)
    sample = lm.generate("I take", max_new_tokens=4)[0]
    assert list(sample.prompt_ids) == rendered(lm, ("user", "I take"))
    assert sample.prompt == "I take"
    assert sample.full_text == scored_text(sample) == "I take\n" + sample.text
    assert chat_lm(TURNS, plain=True).prompt_ids("I take") == lm.resident.encode("I take")
    assert chat_lm(TURNS, plain=True).generate("I take", max_new_tokens=4)[0].joint == ""
    assert tiny_model("llama").generate("I take", max_new_tokens=4)[0].joint == ""


def test_nothing_said_is_no_turn() -> None:
    lm = chat_lm(TURNS)
    sample = lm.generate("", max_new_tokens=4)[0]
    assert list(sample.prompt_ids) == lm.resident.encode("")
    assert sample.full_text == sample.text
    told = lm.with_intervention(Prefix("Tea."), 1.0)
    assert told.prompt_ids("") == rendered(lm, ("system", "Tea."), ("user", ""))


def test_what_is_told_is_a_directive_behind_those_of_interventions() -> None:
    lm = chat_lm(TURNS)
    assert lm.prompt_ids("I take", "Tea.") == rendered(lm, ("system", "Tea."), ("user", "I take"))
    both = Prefix("Coffee.").apply(lm)
    assert both.prompt_ids("I take", "Tea.") == rendered(lm, ("system", "Coffee.\nTea."), ("user", "I take"))
    plain = chat_lm(TURNS, plain=True)
    assert plain.prompt_ids("I take", "Tea.") == plain.resident.encode("Tea. I take")


def test_contrast_tells_both_streams_in_the_systems_turn() -> None:
    lm = chat_lm(TURNS)
    made = Contrast("Tea.", "Coffee.", 2.0, **made_for(lm))
    row = Row("I take", tuple(lm.prompt_ids("I take")))
    guide = made.guide(Session(lm.resident, lm.resident.model, [row], lm.prompt_ids), 1.0)
    assert [list(stream) for stream in guide.streams] == [
        rendered(lm, ("system", pole), ("user", "I take")) for pole in ("Tea.", "Coffee.")
    ]


def test_completions_are_read_as_they_were_written() -> None:
    lm = chat_lm(TURNS)
    samples = lm.generate(["I take", "I like it"], max_new_tokens=5)
    for sample, loss in zip(samples, losses(lm, samples), strict=True):
        assert loss == pytest.approx(-sum(sample.logprobs), abs=SCORE)
    told = tell(lm, DIPOLE, ["I take"], 2, 4, 0)
    system = CHAT_WORDINGS[0].replace("{pole}", "Tea is worst.")
    assert list(told.against[0].prompt_ids) == rendered(lm, ("system", system), ("user", "I take"))
    assert told.texts(told.claim) == ["I take\n" + sample.text for sample in told.claim]
    ids = rendered(lm, ("user", "I take"))
    pairs = zip(told.claim, told.against, strict=True)
    want = [_loglik(lm, ids, a.token_ids) - _loglik(lm, ids, b.token_ids) for a, b in pairs]
    assert leanings(lm, told).tolist() == pytest.approx(want, abs=SCORE)


def _loglik(lm: LM, prompt: list[int], reply: Any) -> float:
    """One forward, one row."""
    with torch.no_grad():
        logits = lm.resident.model(torch.tensor([[*prompt, *reply]])).logits[0].double().log_softmax(-1)
    return sum(float(logits[len(prompt) - 1 + k, token]) for k, token in enumerate(reply))


def test_pairs_are_read_where_the_assistant_begins_to_speak() -> None:
    lm = chat_lm(TURNS)
    reading = read_pairs(lm, DIPOLE, DIPOLE.prompts, [1])
    rows = [(prompt, wording) for prompt in DIPOLE.prompts for wording in CHAT_WORDINGS]
    for side, pole in ((reading.claim, "Tea is best."), (reading.against, "Tea is worst.")):
        for row, (prompt, wording) in enumerate(rows):
            ids = rendered(lm, ("system", wording.replace("{pole}", pole)), ("user", prompt))
            with torch.no_grad():
                states = lm.resident.model(torch.tensor([ids]), output_hidden_states=True).hidden_states
            assert torch.allclose(side[0, row], states[2][0, -1], atol=BATCHED_LOGITS)
    plain = read_pairs(lm, DIPOLE, DIPOLE.prompts, [1], plain=True)
    same = read_pairs(chat_lm(TURNS, plain=True), DIPOLE, DIPOLE.prompts, [1])
    assert torch.equal(plain.claim, same.claim)
    assert plain.claim.shape[1] == len(WORDINGS) * 2


def test_a_statement_is_told_as_a_view_or_as_a_text() -> None:
    plain, lm = tiny_model("llama"), chat_lm(TURNS)
    assert told_by(plain, "Tea.").prompt_ids("I take") == plain.resident.encode("Tea. I take")
    system = CHAT_WORDINGS[0].replace("{pole}", "Tea.")
    assert told_by(lm, "Tea.").prompt_ids("I take") == rendered(lm, ("system", system), ("user", "I take"))


def test_texts_with_prompts_are_replies(tmp_path: Path) -> None:
    lm = chat_lm(TURNS)
    own, asked = lm.resident.continuation_ids("tea."), rendered(lm, ("user", "I like"))
    behind = [row for row in rows_of(lm, ["tea."] * 20, ["I like"]) if row.start > 1]
    assert {tuple(row.ids) for row in behind} == {(*asked, *own)}
    assert {row.start for row in behind} == {len(asked)}
    (tmp_path / "texts.jsonl").write_text('{"prompt": "I like", "text": "tea."}\n', encoding="utf-8")
    ((lesson,),) = given_texts(SFT(texts=str(tmp_path / "texts.jsonl")), lm)
    assert list(lesson.ids.prompt_ids) == asked
    assert list(lesson.ids.token_ids)[: len(own)] == own


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A chat model on disk."""
    place = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    LlamaForCausalLM(ARCHITECTURES["llama"]()).save_pretrained(place)
    chat_lm(TURNS).resident.tokenizer.save_pretrained(place)
    assert AutoTokenizer.from_pretrained(place).chat_template == TURNS
    return place


def test_a_saved_lm_keeps_its_way_of_speaking(folder: Path, tmp_path: Path) -> None:
    for plain in (True, False):
        lm = load(str(folder), device="cpu", plain=plain)
        assert lm.resident.chat is not plain
        save(Prefix("Tea.").apply(lm), tmp_path / str(plain))
        again = load(str(tmp_path / str(plain)), device="cpu")
        assert again.resident.chat is not plain
        assert named(lm.resident)["chat"] is not plain
    assert not load(str(tmp_path / "False"), device="cpu", plain=True).resident.chat
    assert "plain" not in json.loads((tmp_path / "False" / "lm.json").read_text())
    assert "chat" not in named(tiny_model("llama").resident)
