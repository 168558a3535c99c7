"""Files of preferences in trl's formats: what each row means, what is left out, and what is refused."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from architectures import tiny_model
from controls.weights.small import Letters, fitted
from dipole.concepts import Dipole
from dipole.controls.derive import derive
from dipole.controls.weights.dpo import DPO
from dipole.controls.weights.given import given_labels, given_pairs, given_texts
from dipole.controls.weights.kto import KTO
from dipole.controls.weights.ppo import PPO
from dipole.controls.weights.sft import SFT, BestOfDistil
from dipole.corpora.preferences import LABELLED, PAIR, Prompt, Row, read_rows
from dipole.protocols import Run
from dipole.types import DipoleWarning, UserError

SMALL: dict[str, Any] = {
    "completions": 6,
    "max_new_tokens": 4,
    "rounds": 1,
    "anchor_coef": 0.0,
    "lora_rank": 2,
}
DIPOLE = Dipole("Cats are best.", "Cats are worst.", prompts=("The cats", "If I had to choose between"))
BLUE = {"prompt": "The sky is", "chosen": " blue.", "rejected": " green."}
USER = {"role": "user", "content": "What colour is the sky?"}
BEFORE = {"role": "assistant", "content": "Ask."}
SAYS_BLUE, SAYS_GREEN = ({"role": "assistant", "content": text} for text in ("Blue.", "Green."))


def written(folder: Path, *rows: Any) -> Path:
    file = folder / "rows.jsonl"
    file.write_text(
        "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows), "utf-8"
    )
    return file


def only(folder: Path, row: Any, columns: Sequence[str] = PAIR) -> Row:
    (found,) = read_rows(written(folder, row), columns)
    return found


def test_texts_with_a_prompt_and_without(tmp_path: Path) -> None:
    wanted = Row("rows.jsonl:1", Prompt("The sky is"), (" blue.", " green."), None, (False, False))
    assert only(tmp_path, BLUE) == wanted
    assert only(tmp_path, {"chosen": "The sky is blue.", "rejected": "The sky is green."}) == wanted
    whole = {"prompt": "The sky is", "chosen": "The sky is blue.", "rejected": "The sky is green."}
    assert only(tmp_path, whole) == wanted
    words = only(tmp_path, {"chosen": "I like cats", "rejected": "I like cars"})  # not "I like ca"
    assert (words.prompt.text, words.texts) == ("I like", (" cats", " cars"))
    cut = only(tmp_path, {**BLUE, "cut": ["rejected"], "scores": [1, 2]})
    assert cut.cut == (False, True)


def test_conversations_with_a_prompt_and_without(tmp_path: Path) -> None:
    told = {"role": "system", "content": "Be brief."}
    front = [told, {"role": "user", "content": "May I?"}, BEFORE, USER]
    wanted = Prompt(USER["content"], "Be brief.", (("May I?", "Ask."),), chat=True)
    apart = {"prompt": front, "chosen": [SAYS_BLUE], "rejected": [SAYS_GREEN]}
    whole = {"chosen": [*front, SAYS_BLUE], "rejected": [*front, SAYS_GREEN]}
    for row in (apart, whole, {**whole, "prompt": front}):
        found = only(tmp_path, row)
        assert (found.prompt, found.texts) == (wanted, ("Blue.", "Green."))
    labelled = only(tmp_path, {"prompt": [USER], "completion": [SAYS_BLUE], "label": 0}, LABELLED)
    assert (labelled.prompt.text, labelled.texts, labelled.label) == (USER["content"], ("Blue.",), False)


WRONG: list[tuple[Any, str]] = [
    ({"prompt": "The sky is", "chosen": " blue."}, "has no `rejected`"),
    ({**BLUE, "rejected": " blue."}, "has a `chosen` and a `rejected` that are the same"),
    ({**BLUE, "rejected": "  "}, "has an empty `rejected`"),
    ({**BLUE, "chosen": 3}, "has a `chosen` that is a int, not a string"),
    ({"prompt": "A b", "chosen": "A b", "rejected": "A b c"}, "has a `chosen` that says nothing behind"),
    ({**BLUE, "prompt": [USER]}, "has both texts and messages"),
    (
        {"prompt": [USER], "chosen": [SAYS_BLUE], "rejected": [USER]},
        "`rejected` that is not one reply of the",
    ),
    ({"prompt": [USER], "chosen": [SAYS_BLUE], "rejected": [{"role": "x"}]}, "a message that has no `role`"),
    ({"prompt": [BEFORE], "chosen": [SAYS_BLUE], "rejected": [SAYS_GREEN]}, "not by turns of the user"),
    ('{"prompt": "The sky is", "chosen": " bl', "is no JSON"),
    ("[1]", "is no JSON object"),
]


@pytest.mark.parametrize(("row", "words"), WRONG)
def test_a_row_that_can_not_be_used_is_left_out_and_named(row: Any, words: str, tmp_path: Path) -> None:
    with pytest.warns(DipoleWarning, match=r"1 rows of .* are left out, and 1 are used") as said:
        (found,) = read_rows(written(tmp_path, BLUE, row), PAIR)
    assert found.where == "rows.jsonl:1"
    assert "the first is rows.jsonl:2: 1 × " in str(said[0].message)
    assert words in str(said[0].message)
    with pytest.raises(UserError, match="There is nothing to learn from in") as refused:
        read_rows(written(tmp_path, row), PAIR)
    assert "rows.jsonl:1" in str(refused.value)
    assert words in str(refused.value)


def test_rows_that_come_again_are_counted(tmp_path: Path) -> None:
    other = {**BLUE, "rejected": " red."}
    with pytest.warns(DipoleWarning, match=r"first is rows\.jsonl:2: 2 × says what a row before it says"):
        assert len(read_rows(written(tmp_path, BLUE, BLUE, other, BLUE), PAIR)) == 2


def test_a_packed_file_that_ends_early_gives_what_it_has(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl.gz"
    rows = "".join(json.dumps({**BLUE, "rejected": f" {k:x}."}) + "\n" for k in range(20000))
    file.write_bytes(gzip.compress(rows.encode())[:-2000])
    with pytest.warns(DipoleWarning, match="ends early"):
        assert 100 < len(read_rows(file, PAIR)) < 20000


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (
            [{"prompt": "a", "completion": f" {k}", "label": True} for k in range(3)],
            "All 3 labels in .* are true",
        ),
        (
            [{"prompt": "a", "completion": " b", "label": "yes"}],
            "the label 'yes', and true or false is wanted",
        ),
        ([{"prompt": "a", "completion": " b"}], "has no `label`"),
    ],
)
def test_labels_that_tell_nothing_are_refused(rows: list[Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=words):
        KTO(texts=str(written(tmp_path, *rows))).fit(tiny_model("gpt2"))


def test_what_is_no_such_file_is_refused(tmp_path: Path) -> None:
    table = tmp_path / "rows.csv"
    table.write_text("prompt,chosen,rejected\n")
    for path, words in ((table, "give a .jsonl file"), (tmp_path / "none.jsonl", "There is no file")):
        with pytest.raises(UserError, match=words):
            DPO(pairs=str(path)).fit(tiny_model("gpt2"))


def test_prompts_and_texts_are_tokenised_apart(tmp_path: Path) -> None:
    lm = tiny_model("gpt2")
    resident, end = lm.resident, lm.resident.tokenizer.eos_token_id
    row = {"prompt": "The cats", "chosen": " like the dogs.", "rejected": " said that.", "cut": ["rejected"]}
    ((chosen, rejected),) = given_pairs(DPO(pairs=str(written(tmp_path, row))), lm)
    assert list(chosen.ids.prompt_ids) == list(rejected.ids.prompt_ids) == resident.encode("The cats")
    assert list(chosen.ids.token_ids) == [*resident.continuation_ids(" like the dogs."), end]
    assert list(rejected.ids.token_ids) == resident.continuation_ids(" said that.")
    assert (chosen.wanted, rejected.wanted) == (True, False)
    labels = [unit[0] for unit in given_labels(KTO(texts=str(written(tmp_path, row))), lm)]
    assert labels == [chosen, rejected]
    short = len(chosen.ids.prompt_ids)
    with pytest.raises(UserError, match=r"The prompt of rows.jsonl:1 .* raise max_length"):
        given_pairs(DPO(pairs=str(written(tmp_path, row)), max_length=short), lm)
    chat = {"prompt": [USER], "chosen": [SAYS_BLUE], "rejected": [SAYS_GREEN]}
    asking = DPO(pairs=str(written(tmp_path, chat)))
    with pytest.raises(UserError, match=r"rows\.jsonl:1 is a conversation"):
        given_pairs(asking, lm)


@pytest.mark.parametrize("control", [DPO(margin=0.0, **SMALL), KTO(margin=0.0, **SMALL)])
def test_what_is_derived_is_what_is_trained_on(control: Any, tmp_path: Path) -> None:
    """A file of what a control would learn, learned, gives the loss that the control has by itself."""
    lm, log, again = tiny_model("gpt2"), Run(), Run()
    found = derive(lm, DIPOLE, _by_letters(control))
    file = tmp_path / "rows.jsonl"
    found.save(file)
    rows = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    assert rows == found.to_dicts()
    assert set(rows[0]) >= {"prompt", "scores", "cut"}
    assert f"{len(rows)} rows for {control.name}" in str(found)
    fitted(control, lm, DIPOLE, Letters(), log)
    fitted(type(control)(**{control.asks_for[2:]: str(file)}, **SMALL), lm, None, None, again)
    assert log.history[0]["texts"] == again.history[0]["texts"] == len(rows)
    assert again.history[0]["preference_loss"] == pytest.approx(log.history[0]["preference_loss"], abs=0.05)
    with pytest.raises(UserError, match="exists"):
        found.save(file)
    found.save(file, overwrite=True)


def _by_letters(control: Any) -> Any:
    """The control with a judge of letters in place of the one that it names."""
    object.__setattr__(control, "judge", lambda lm, run=None: Letters())
    return control


def test_completions_are_texts_for_sft(tmp_path: Path) -> None:
    lm = tiny_model("gpt2")
    found = derive(lm, DIPOLE, _by_letters(BestOfDistil(best_of=3, agree=0.0, **SMALL)))
    assert len(found.rows) == 2  # six completions, three of each prompt
    file = tmp_path / "best.jsonl"
    found.save(file)
    units = given_texts(SFT(texts=str(file)), lm)
    assert [unit[0].text for unit in units] == [row["completion"] for row in found.rows]


def test_what_can_not_be_derived_is_refused(tmp_path: Path) -> None:
    lm = tiny_model("gpt2")
    for control, words in (
        (PPO(), "ppo learns from no texts"),
        (DPO(pairs="x.jsonl"), "--pairs was given"),
    ):
        with pytest.raises(UserError, match=words):
            derive(lm, DIPOLE, control)
    with pytest.raises(UserError, match="prompts to continue"):
        derive(lm, Dipole("Cats are best.", "Cats are worst."), DPO())
    found = derive(lm, DIPOLE, _by_letters(SFT(agree=0.0, **SMALL)))
    for path, words in ((tmp_path, "is a folder"), (tmp_path / "rows.json", "must end in .jsonl")):
        with pytest.raises(UserError, match=words):
            found.save(path)
