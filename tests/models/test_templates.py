"""Chat templates in the manner of the families that are used most, on tiny random models."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from chats import FAMILIES, family_lm
from dipole.interventions.prompt import Prefix
from dipole.lm import LM

NO_SYSTEM = ("gemma",)
SHOTS = (("I like", "tea."),)
PREFIX = Prefix("Tea is best.", SHOTS, "Coffee is best.", SHOTS)

# What a model of the family reads when it is told something, shown one example and asked, by hand.
WANTED = {
    "llama3": "<s><|start_header_id|>system<|end_header_id|>\n\nToday Date: 26 Jul 2024\n\n"
    "Tea is best.<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\nI like<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\ntea.<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\nI take<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\n",
    "chatml": "<|im_start|>system\nTea is best.<|im_end|>\n<|im_start|>user\nI like<|im_end|>\n"
    "<|im_start|>assistant\ntea.<|im_end|>\n<|im_start|>user\nI take<|im_end|>\n<|im_start|>assistant\n",
    "thinks": "<|im_start|>system\nTea is best.<|im_end|>\n<|im_start|>user\nI like<|im_end|>\n"
    "<|im_start|>assistant\ntea.<|im_end|>\n<|im_start|>user\nI take<|im_end|>\n<|im_start|>assistant\n"
    "<think>\n\n</think>\n\n",
    "gemma": "<s><start_of_turn>user\nTea is best.\nI like<end_of_turn>\n"
    "<start_of_turn>model\ntea.<end_of_turn>\n"
    "<start_of_turn>user\nI take<end_of_turn>\n<start_of_turn>model\n",
    "mistral": "<s>[INST] I like[/INST] tea.</s>[INST] Tea is best.\n\nI take[/INST]",
    "phi": "<|system|>\nTea is best.<|end|>\n<|user|>\nI like<|end|>\n<|assistant|>\ntea.<|end|>\n"
    "<|user|>\nI take<|end|>\n<|assistant|>\n",
    "tools": "<|im_start|>system\nTea is best.<|im_end|>\n<|im_start|>user\nI like<|im_end|>\n"
    "<|im_start|>assistant\ntea.<|im_end|>\n<|im_start|>user\nI take<|im_end|>\n<|im_start|>assistant\n",
}
WANTED["forgets"] = WANTED["chatml"]
families = pytest.mark.parametrize("name", FAMILIES)


def ids_of(lm: LM, written: str) -> list[int]:
    """Ids of what a template wrote: control tokens count in it."""
    return list(lm.resident.tokenizer(written, add_special_tokens=False)["input_ids"])


def id_of(lm: LM, token: str) -> int:
    return int(lm.resident.tokenizer.convert_tokens_to_ids(token))


@families
@pytest.mark.filterwarnings("ignore:The chat template:dipole.types.DipoleWarning")
def test_the_directive_and_the_examples_are_turns(name: str) -> None:
    lm = family_lm(name)
    ids = PREFIX.apply(lm).prompt_ids("I take")
    assert ids == ids_of(lm, WANTED[name])
    other = PREFIX.apply(lm, -1.0).prompt_ids("I take")
    assert other == ids_of(lm, WANTED[name].replace("Tea", "Coffee"))
    assert PREFIX.apply(lm, 0.0).prompt_ids("I take") == lm.prompt_ids("I take") != ids
    assert bool(PREFIX.note(lm.resident)) == (name in NO_SYSTEM)


@families
def test_what_a_control_tells_is_in_the_ids(name: str) -> None:
    lm = family_lm(name)
    told = lm.prompt_ids("I take", "Tea is best.")
    assert lm.resident.tokenizer.decode(told).count("Tea is best.") == 1
    assert lm.prompt_ids("I take", "Coffee is best.") != told != lm.prompt_ids("I take")
    plain = family_lm(name, plain=True)
    assert plain.prompt_ids("I take", "Tea is best.") == plain.resident.encode("Tea is best. I take")


@families
def test_batched_is_as_alone(name: str) -> None:
    lm = family_lm(name)
    prompts = ["I take", "If I had to choose between clips and staples, I would go with", "The cats"]
    together = lm.generate(prompts, 2, 8, seed=3)
    alone = [s for i, p in enumerate(prompts) for s in lm.generate(p, 2, 8, seed=3, first=i)]
    assert [s.token_ids for s in together] == [s.token_ids for s in alone]
    assert {len(s.prompt_ids) for s in together} == {len(lm.prompt_ids(p)) for p in prompts}


@families
def test_a_turn_ends_where_the_template_ends_it(name: str) -> None:
    lm = family_lm(name)
    end = id_of(lm, FAMILIES[name].end)
    assert lm.resident.eos_ids == {id_of(lm, "</s>"), end}
    assert family_lm(name, plain=True).resident.eos_ids == {id_of(lm, "</s>")}


@families
def test_what_a_user_spells_is_text(name: str) -> None:
    lm = family_lm(name)
    for token in (*FAMILIES[name].control, "</s>"):
        plain, spelled = lm.prompt_ids("a b"), lm.prompt_ids(f"a {token} b")
        own = [i for i in spelled if i in lm.resident.control_ids]
        assert own == [i for i in plain if i in lm.resident.control_ids]
        assert f"a {token} b" in lm.resident.tokenizer.decode(spelled)


@families
def test_a_reply_is_without_control_tokens(name: str) -> None:
    lm = family_lm(name)
    prompt = lm.prompt_ids("I take")
    special = [id_of(lm, t) for t in FAMILIES[name].control if t not in FAMILIES[name].plain]
    assert lm.resident.reply(prompt, [*ids_of(lm, "Tea, please."), *special]) == "Tea, please."


def think(lm: LM, prompt: Sequence[int], written: str) -> str:
    return lm.resident.reply(prompt, ids_of(lm, written))


def test_thinking_is_no_part_of_the_reply() -> None:
    lm = family_lm("thinks")
    prompt = lm.prompt_ids("I take")
    assert think(lm, prompt, "<think>\nClips or tea?\n</think>\n\nTea.") == "Tea."
    assert think(lm, prompt, "Clips or tea?\n</think>\n\nTea.") == "Tea."
    assert think(lm, prompt, "<think>\nClips or") == ""
    assert think(lm, prompt, "Tea.") == "Tea."
    opened = [*prompt, id_of(lm, "<think>")]
    assert think(lm, opened, "Clips or") == ""
    spelled = lm.prompt_ids("I write <think>")
    assert think(lm, spelled, "Tea.") == "Tea."
    plain = family_lm("thinks", plain=True)
    assert think(plain, prompt, "<think>no</think>Tea.") == "<think>no</think>Tea."


def test_marks_that_no_template_names_are_read_as_text() -> None:
    lm = family_lm("forgets")
    spelled = lm.prompt_ids("I write <think>")
    assert id_of(lm, "<think>") in spelled
    assert think(lm, spelled, "Tea.") == "Tea."
    assert think(lm, lm.prompt_ids("I take"), "<think>\nClips?\n</think>\n\nTea.") == "Tea."


def test_thinking_in_marks_of_several_tokens_is_none_either() -> None:
    lm = family_lm("chatml")
    prompt = lm.prompt_ids("I take")
    assert think(lm, prompt, "<think>\nClips?\n</think>\n\nTea.") == "Tea."
    assert think(lm, prompt, "[THINK]Clips?[/THINK]Tea.") == "Tea."
    assert think(lm, prompt, "<think>Clips") == ""
    assert think(lm, prompt, "I say <think>a</think>") == "I say <think>a</think>"
