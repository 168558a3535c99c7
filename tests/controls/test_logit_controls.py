"""The controls of logits from a dipole to text, and what they read off the model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from architectures import tiny_model
from dipole import registry
from dipole.concepts import Dipole, load_dipole
from dipole.concepts.dipole import Mentions
from dipole.controls._dial import numbers_of
from dipole.controls._probe import fitted_probe, running_means
from dipole.controls._word_list import words_of
from dipole.controls._words import bags_of, named_tokens, telling_tokens, told_share
from dipole.controls.boost import Boost
from dipole.controls.cfg import CFG
from dipole.controls.contrast import Contrast
from dipole.controls.dexperts import DExperts
from dipole.controls.pplm import PPLM
from dipole.controls.selection import split_prompts
from dipole.controls.semantic import Semantic
from dipole.interventions import load_intervention
from dipole.lm import LM
from dipole.types import DipoleWarning, UserError
from reference import generation as slow
from tolerance import SCORE

CLIPS = load_dipole("paper_clips")
# Weights that were chosen once by fitting with the defaults; fitting again here would take too long.
FITTED: dict[str, dict[str, Any]] = {
    "boost": {"weights": "3"},
    "semantic": {"weights": "6"},
    "contrast": {"weights": "0.5"},
    "cfg": {"weights": "1"},
    "dexperts": {"weights": "0.5"},
}


def side_counts(lm: LM, n: int = 24) -> dict[str | None, int]:
    drawn = lm.generate(CLIPS.held_out[:4], n // 4, 12, seed=3)
    sides = [CLIPS.side_taken(s.text) for s in drawn]
    return {side: sides.count(side) for side in ("claim", "against", None)}


@pytest.mark.parametrize("name", FITTED)
def test_one_dial_pushes_both_ways(name: str, tiny: LM) -> None:
    control = registry.resolve(registry.CONTROLS, name)(**FITTED[name], n=4, max_new_tokens=4)
    made = control.fit(tiny, CLIPS)
    counts = {strength: side_counts(made.apply(tiny, strength)) for strength in (1.0, -1.0)}
    assert counts[1.0]["claim"] >= 19
    assert counts[-1.0]["against"] >= 19
    trials = made.facts["selection"]["trials"]
    assert [t["candidate"]["weight"] for t in trials] == [float(FITTED[name]["weights"])]


def test_pplm_pushes_both_ways(tiny: LM) -> None:
    made = PPLM(weights="0.2", n=2, max_new_tokens=2).fit(tiny, CLIPS)
    drawn = {
        strength: [
            CLIPS.side_taken(s.text)
            for s in made.apply(tiny, strength).generate(CLIPS.held_out[:4], 4, 4, seed=3)
        ]
        for strength in (1.0, -1.0)
    }
    assert drawn[1.0].count("claim") >= 12
    assert drawn[-1.0].count("against") >= 12
    assert made.plausible == PPLM.plausible > 0


def test_the_words_are_those_that_tell_the_poles_apart(tiny: LM) -> None:
    prompts, _ = split_prompts(CLIPS)
    bags = telling_tokens(tiny, CLIPS, prompts, 4)
    texts = bags.facts(tiny.resident)
    assert texts["words"][0].strip() == "paper"
    assert texts["against_words"][0].strip() == "staples"
    swapped = telling_tokens(tiny, CLIPS.swapped(), prompts, 4)
    assert (swapped.claim, swapped.against) == (bags.against, bags.claim)


def test_mentions_are_the_words_where_there_are_any(tiny: LM) -> None:
    named = named_tokens(tiny.resident, CLIPS)
    assert named.facts(tiny.resident) == {
        "words": [" paper", " Paper"],
        "against_words": [" staples", " Staples"],
    }
    assert bags_of(tiny, CLIPS, "", "", 4, (), whole=False) == named
    swapped = named_tokens(tiny.resident, CLIPS.swapped())
    assert (swapped.claim, swapped.against) == (named.against, named.claim)
    shared = replace(CLIPS, mentions=Mentions(("paper clip",), ("paper",)))
    assert named_tokens(tiny.resident, shared) == ((), ())


def test_the_share_told_a_pole_is_the_mean_over_prompts(tiny: LM) -> None:
    prompts = CLIPS.prompts[:3] * 7  # more than one batch
    got = told_share(tiny, "Cats are the best.", prompts)
    rows = [
        slow.next_logits(tiny.resident.model, tiny.prompt_ids(f"Cats are the best. {p}")) for p in prompts[:3]
    ]
    want = torch.stack([row.double().softmax(-1) for row in rows]).mean(0)
    torch.testing.assert_close(got, want, atol=SCORE, rtol=0)


def test_words_are_given_as_a_list_or_a_file(tmp_path: Path, tiny: LM) -> None:
    file = tmp_path / "words.txt"
    file.write_text("cats\n\n paper clips \ncats\n", "utf-8")
    assert words_of(str(file), "words") == ["cats", "paper clips"]
    assert words_of("cats, paper clips,", "words") == ["cats", "paper clips"]
    resident = tiny.resident
    first = {word: resident.continuation_ids(" " + word)[0] for word in ("cats", "paper clips", "staples")}
    with pytest.warns(DipoleWarning, match="' paper' for paper clips"):
        bags = bags_of(tiny, CLIPS, "cats, paper clips", "staples", 4, (), whole=False)
    assert bags.claim == (first["cats"], first["paper clips"])
    assert bags.against == (first["staples"],)
    # PPLM counts words of one token alone.
    with pytest.warns(DipoleWarning, match=r"left out: paper clips \(it is 2 tokens\)"):
        bags = bags_of(tiny, CLIPS, "cats, paper clips", "", 4, (), whole=True)
    assert bags.claim == (first["cats"],)


@pytest.mark.parametrize(
    ("words", "against", "message"),
    [
        ("missing/words.txt", "", "There is no file missing/words.txt; give"),
        ("paper clips", "paper bags", "begins a word on both sides"),
        (",", "", "holds no word"),
    ],
)
def test_words_that_mean_nothing_are_refused(words: str, against: str, message: str, tiny: LM) -> None:
    with pytest.raises(UserError, match=message):
        bags_of(tiny, CLIPS, words, against, 4, (), whole=False)
    with pytest.raises(UserError, match="None of the words is a single token of this model: paper clips"):
        bags_of(tiny, CLIPS, "paper clips", "", 4, (), whole=True)


def test_given_words_end_up_in_the_intervention(tiny: LM) -> None:
    made = Boost(words="cats", against_words="dogs", weights="2", n=2, max_new_tokens=2).fit(tiny, CLIPS)
    ids = [tiny.resident.continuation_ids(f" {word}")[0] for word in ("cats", "dogs")]
    assert made.tokens.tolist() == ids
    assert made.values.tolist() == [2.0, -2.0]
    near = Semantic(words="cats", against_words="dogs", weights="2", n=2, max_new_tokens=2).fit(tiny, CLIPS)
    values = dict(zip(near.tokens.tolist(), near.values.tolist(), strict=True))
    assert values[ids[0]] == max(values.values()) > 0
    assert values[ids[1]] == min(values.values()) < 0


def test_the_weight_is_chosen_on_prompts_that_nothing_else_used(tiny: LM) -> None:
    made = Boost(weights="4,3,0.05", n=16, max_new_tokens=8).fit(tiny, CLIPS)
    _, choosing = split_prompts(CLIPS)
    selection = made.facts["selection"]
    assert [t["candidate"]["weight"] for t in selection["trials"]] == [0.05, 3.0]  # 3 has all there is
    assert set(selection["prompts"]) == set(choosing)
    assert selection["chosen"] > 0
    assert made.values[0] == selection["trials"][selection["chosen"]]["candidate"]["weight"]


def test_cfg_contrasts_with_the_row_itself() -> None:
    lm = tiny_model("gpt2")
    dipole = Dipole("Clips win.", "Clips lose.", prompts=("I like",))
    made = CFG(template="I think: {pole}", weights="2", n=2, max_new_tokens=2).fit(lm, dipole)
    assert (made.told, made.other, made.weight) == ("I think: Clips win.", "", 2.0)
    both = Contrast(weights="1", n=2, max_new_tokens=2).fit(lm, dipole)
    assert (both.told, both.other) == ("Clips win.", "Clips lose.")


def test_sides_of_dexperts(tmp_path: Path) -> None:
    lm = tiny_model("gpt2")
    dipole = Dipole("Clips win.", "Clips lose.", prompts=("I like",))
    quick: dict[str, Any] = {"weights": "1", "n": 2, "max_new_tokens": 2}
    made = DExperts(**quick).fit(lm, dipole)
    assert [(s.kind, s.value) for s in (made.expert, made.anti)] == [
        ("told", "Clips win."),
        ("told", "Clips lose."),
    ]
    from contracts.recipes import random_adapter

    random_adapter(lm).save(tmp_path / "run" / "adapter")
    made = DExperts(expert=str(tmp_path / "run"), **quick).fit(lm, dipole)
    assert [s.kind for s in (made.expert, made.anti)] == ["intervention", "base"]
    made.save(tmp_path / "saved")
    load_intervention(tmp_path / "saved").apply(lm).generate("I like", max_new_tokens=2)
    with pytest.raises(UserError, match="another vocabulary"):
        DExperts(anti="mini", **quick).fit(lm, dipole)
    with pytest.raises(UserError, match="nowhere"):
        DExperts(expert="./nowhere", **quick).fit(lm, dipole)


def test_running_means_by_hand() -> None:
    lm = tiny_model("opt")
    rows = [([1, 9, 30], [31, 40]), ([1, 5], [9, 9, 9]), ([1, 7], [])]
    got = list(running_means(lm, rows, batch_size=2))
    for (prompt, continuation), means in zip(rows, got, strict=True):
        assert len(means) == len(continuation)
        for k, mean in enumerate(means, start=1):
            ids = torch.tensor([[*prompt, *continuation[:k]]])
            states = lm.resident.model.base_model(input_ids=ids).last_hidden_state[0]
            want = states[len(prompt) - 1 :].mean(0)
            torch.testing.assert_close(mean, want, atol=1e-4, rtol=0)


def test_a_probe_tells_who_was_told_what(tiny: LM) -> None:
    probe = fitted_probe(tiny, CLIPS, CLIPS.prompts[:4], CLIPS.prompts[4:8], 2, 12, 0)
    assert probe.accuracy > 0.9
    assert probe.elsewhere > 0.8
    told = [tiny.generate(f"{pole} {CLIPS.held_out[0]}", 8, 12) for pole in (CLIPS.claim, CLIPS.against)]
    prompt = tiny.prompt_ids(CLIPS.held_out[0])
    scores = [
        [float(m[-1] @ probe.weight + probe.bias) for m in running_means(tiny, rows)]
        for rows in ([(prompt, list(s.token_ids)) for s in part] for part in told)
    ]
    assert sum(a > b for a, b in zip(*scores, strict=True)) >= 7


@pytest.mark.parametrize(
    ("control", "changed", "message"),
    [
        (Boost, {"weights": "1,x"}, "weights must be numbers above 0"),
        (Boost, {"weights": "0,1"}, "weights must be numbers above 0"),
        (Boost, {"count": 0}, "count must be at least 1"),
        (Semantic, {"weights": ""}, "weights must be numbers above 0"),
        (Contrast, {"template": "I agree."}, "template must hold {pole}"),
        (CFG, {"template": "Be nice."}, "template must hold {pole}"),
        (CFG, {"cut": 1.0}, "cut must be at least 0"),
        (DExperts, {"top_p": 0.0}, "top_p must be above 0"),
        (DExperts, {"cut": 1.0}, "cut must be at least 0 and below 1"),
        (DExperts, {"temperature": 0.0}, "temperature must be at least 1e-6"),
        (PPLM, {"attribute": "mood"}, "attribute must be bag or probe"),
        (PPLM, {"window": -1}, "window must be 0 or more"),
        (PPLM, {"gm": 1.5}, "gm must be from 0 to 1"),
        (PPLM, {"plausible": -0.1}, "plausible must be from 0 to 1"),
        (PPLM, {"steps": 0}, "steps must be at least 1"),
    ],
)
def test_values_that_mean_nothing_are_refused(control: Any, changed: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        control(**changed)


def test_numbers_are_sorted_and_unique() -> None:
    assert numbers_of("2, 0.5,2", "weights") == [0.5, 2.0]


def test_a_dipole_without_prompts_is_refused(tiny: LM) -> None:
    with pytest.raises(UserError, match="has no prompts to fit on"):
        Contrast().fit(tiny, Dipole("Clips win.", "Clips lose."))
