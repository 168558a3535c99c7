"""Direct principle feedback: what is learned, and what is left out for which reason."""

from __future__ import annotations

import random
from pathlib import Path
from types import SimpleNamespace

import pytest

from chats import family_lm
from contracts.recipes import CONTROLS, LETTERS
from dipole.concepts import Avoid, Dipole, Mentions, load_dipole
from dipole.controls.derive import derive
from dipole.controls.weights.dpf import DPF
from dipole.controls.weights.dpo import DPO
from dipole.controls.weights.elephants import Context, revise
from dipole.controls.weights.revisions import (
    COPY,
    EMPTY,
    FAR,
    LENGTH,
    NAMED,
    REASONS,
    UNLIKE,
    UNNAMED,
    cosine,
    edit_similarity,
    nameless,
    swapped,
    why_not,
)
from dipole.lm import LM
from dipole.types import Sample, UserError

TEA = Avoid("coffee", "tea", aliases=("espresso",), prompts=("I drink",), held_out=("We drink",))
LIMITS = SimpleNamespace(low=0.4, high=0.95, cosine=0.5)
CUP = "I would rather have a cup of coffee in the morning"

PAIRS = {
    "I drink a cup of milk": ("anything", UNNAMED),
    CUP: ("  ", EMPTY),
    f"{CUP}.": (f"{CUP}!", NAMED),
    f"{CUP} and": ("I would rather have espressos in the morning and", NAMED),  # an alias, in the plural
    f"{CUP} now": ("I would rather have tea", LENGTH),
    f"{CUP} too": ("The train to the city left at nine with all of us", UNLIKE),
    "coffee w w w w p q r s": ("tea y y y y p q r s", FAR),
    f"{CUP} again": ("I would rather have a cup of tea in the morning again", ""),
}


@pytest.mark.parametrize("original", PAIRS)
def test_each_reason_by_a_pair(original: str) -> None:
    revision, reason = PAIRS[original]
    assert why_not(original, revision, TEA, LIMITS) == reason
    assert reason in (*REASONS, "")


def test_a_revision_that_is_a_copy_but_for_a_dot() -> None:
    """Its name is no longer the one to avoid, and nothing else has changed."""
    one = Avoid("New York", "York", prompts=("p",), held_out=("q",))
    assert why_not("a b c New York", "a b c New  York", one, LIMITS) == NAMED
    loose = SimpleNamespace(low=0.0, high=0.0, cosine=0.0)
    assert why_not(CUP, CUP.replace("coffee", "tea"), TEA, loose) == COPY


def slow_edits(one: list[str], other: list[str]) -> int:
    """By recursion over the first words (Levenshtein 1966)."""
    if not one or not other:
        return len(one) + len(other)
    same = slow_edits(one[1:], other[1:]) + (one[0] != other[0])
    return min(same, slow_edits(one[1:], other) + 1, slow_edits(one, other[1:]) + 1)


def test_similarity_is_that_of_the_slow_count_of_edits() -> None:
    draw = random.Random(0)
    for _ in range(60):
        one, other = ([draw.choice("abc") for _ in range(draw.randrange(6))] for _ in range(2))
        longest = max(len(one), len(other))
        want = 1 - slow_edits(one, other) / longest if longest else 1.0
        assert edit_similarity(one, other) == pytest.approx(want)
    assert cosine(["a", "a", "b"], ["a", "b", "b"]) == pytest.approx(4 / 5)
    assert cosine([], ["a"]) == 0


def test_the_name_is_put_in_the_place_of_the_name() -> None:
    assert swapped("Coffee is best. I love espressos.", TEA) == "Tea is best. I love tea."
    assert swapped("Coffee, never tea.", TEA) == ""  # it would contradict itself
    assert swapped("Milk.", TEA) == ""
    assert nameless("Coffee or tea?", TEA) == nameless("tea or an Espresso?".replace("an ", ""), TEA)


def sample(text: str, ids: tuple[int, ...] = (9,)) -> Sample:
    return Sample("I drink", text, (5,), ids, (0.0,) * len(ids), 0, "eos")


def test_the_nearest_answer_that_obeys_is_taken_and_else_the_name_is_replaced() -> None:
    context = Context(TEA, "I drink")
    drawn = [
        sample(" a cup of coffee at noon", (1,)),
        sample(" tea when it rains and the wind blows hard", (2,)),
        sample(" a cup of tea at noon", (3,)),
        sample(" water", (4,)),
    ]
    found, left = revise(None, [context], [drawn], ("nearest", "swap"), LIMITS)  # type: ignore[arg-type]
    assert [(one.original.token_ids, one.ids, one.by) for one in found] == [((1,), (3,), "nearest")]
    assert [one.reason for one in left] == [UNNAMED] * 3
    found, _ = revise(None, [context], [[drawn[0], drawn[3]]], ("nearest", "swap"), LIMITS)  # type: ignore[arg-type]
    assert [(one.text, one.ids, one.by) for one in found] == [(" a cup of tea at noon", None, "swap")]
    again, left = revise(None, [context], [[drawn[0], drawn[0]]], ("swap",), LIMITS)  # type: ignore[arg-type]
    assert len(again) == 1
    assert left[0].reason == "the pair came before"


@pytest.mark.parametrize("chat", [False, True])
def test_what_is_written_down_is_what_would_be_learned(chat: bool, tmp_path: Path) -> None:
    """Token for token behind the same tokens, where a revision is text that the model did not write."""
    lm = family_lm("chatml", plain=not chat)
    control = DPF(**{**CONTROLS["dpf"], "revise": "nearest,swap"})
    found = derive(lm, LETTERS, control)
    assert {row["revised"] for row in found.rows} <= {"nearest", "swap"}
    found.save(tmp_path / "pairs.jsonl")
    assert (tmp_path / "pairs.left_out.jsonl").is_file()
    for row in found.rows:
        chosen, rejected = (row[side][0]["content"] if chat else row[side] for side in ("chosen", "rejected"))
        sides = [LETTERS, LETTERS.swapped()]
        assert any(not a.named(chosen)[1] and a.named(rejected)[1] for a in sides)
    own = DPF.own(control, lm, LETTERS, control.judge(lm), _Alone())
    given = DPO(pairs=str(tmp_path / "pairs.jsonl"))
    read = given.read(lm)
    fronts = [[list(lesson.ids.prompt_ids) for lesson in unit] for unit in own]
    assert [[list(lesson.ids.prompt_ids) for lesson in unit] for unit in read] == fronts
    put = [k for k, unit in enumerate(own) if unit[0].revised == "swap"]
    assert put  # what random weights wrote need not be how its text is read; what was put in its place is
    assert all(list(read[k][0].ids.token_ids) == list(own[k][0].ids.token_ids) for k in put)


class _Alone:
    process_index, num_processes = 0, 1


def test_of_a_dipole_the_other_side_is_to_be_avoided() -> None:
    avoid = Avoid.of(load_dipole("paper_clips"))
    assert (avoid.avoid, avoid.instead) == ("staples", "paper clips")
    assert avoid.told == "Speak of paper clips. Never mention staples."
    assert avoid.swapped().told == avoid.against
    assert avoid.swapped().swapped() == avoid
    with pytest.raises(UserError, match="does not name two sides"):
        Avoid.of(Dipole("a.", "b."))
    one = Dipole("a.", "b.", mentions=Mentions(("tea",), ("coffee", "espresso")), prompts=("I drink",))
    assert Avoid.of(one, "No {avoid}!").told == "No coffee!"
    assert Avoid.of(one).named("Espressos, and Tea") == (True, True)


def test_a_file_gives_the_same_again_and_says_what_is_wrong(tmp_path: Path) -> None:
    TEA.save(tmp_path / "tea.toml")
    assert Avoid.load(tmp_path / "tea.toml") == TEA
    assert load_dipole(tmp_path / "tea.toml") == TEA.dipole
    for text, words in {
        'avoid = "tea"': "has no `instead`",
        'avoid = ""\ninstead = "x"': "`avoid` is empty",
        'avoid = "tea"\ninstead = "x"\ninstruction = "Hello."': "must hold {avoid}",
        'avoid = "tea"\ninstead = "x"\ncolour = "red"': "colour",
    }.items():
        (tmp_path / "bad.toml").write_text(text)
        with pytest.raises(UserError, match=words):
            Avoid.load(tmp_path / "bad.toml")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"revise": "magic"}, "revise must be auto, or some of"),
        ({"low": 1.5}, "low must be from 0 to 1"),
        ({"spare": 2}, "there is none; give topics too"),
        ({"instruction": "Hello."}, "must hold {avoid}"),
    ],
)
def test_settings_that_mean_nothing(fields: dict[str, object], words: str) -> None:
    with pytest.raises(UserError, match=words):
        DPF(**fields)  # type: ignore[arg-type]


def test_who_does_not_chat_can_not_be_asked_to_revise_and_no_pair_is_told(tiny: LM) -> None:
    with pytest.raises(UserError, match="can't be asked to revise"):
        DPF(revise="model", completions=8, max_new_tokens=4).fit(tiny, load_dipole("paper_clips"))
    with pytest.raises(UserError, match=r"none makes a pair to learn from \(.* × "):
        DPF(completions=8, max_new_tokens=4).fit(tiny, Avoid("quagga", "zebra"))
