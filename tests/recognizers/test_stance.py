"""The recognizer stance: frames, directions, priors, and what is left of VELMA in it."""

from __future__ import annotations

import math
from itertools import product
from statistics import mean

import pytest
import torch

import dipole
from architectures import REAL, fresh_tiny_model, tiny_model
from chats import TURNS, chat_lm
from dipole.concepts import Dipole, load_dipole
from dipole.lm import LM
from dipole.protocols import Recognizer
from dipole.recognizers import _frames
from dipole.recognizers._frames import FRAMES, Frame, Frames, known_template
from dipole.recognizers.neutral import NEUTRAL
from dipole.recognizers.stance import Stance, _alike
from dipole.recognizers.velma import Velma
from dipole.registry import make_recognizer
from dipole.types import UserError
from reference import stance as reference
from tolerance import EXACT, FLOAT32_SUM, SCORE

PAIR = Dipole("The best.", "A worse one.")
TEXTS = ["I hate staples. ", "So", "The cats like dogs", "a"]
SHORT = {  # the frames of the recognizer are longer than the context of a tiny model
    "quoted": Frames(
        (Frame('He: "', '"', ' So: "'), Frame('He: "', '"', ' No: "')),
        (Frame('If "', '"', ' then "'), Frame('Not "', '"', ' but "')),
    ),
    "chat": Frames((Frame('He: "', '"', chat=True),), (Frame('If "', '"', chat=True),)),
}
NATS = 4 * SCORE  # eight log-likelihoods


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, frames in SHORT.items():
        monkeypatch.setitem(_frames.FRAMES, name, frames)


def by_hand(lm: LM, text: str, direction: str, template: str, denial: bool = True) -> float:
    """Nats a token towards the claim, from ids that are put together here."""
    start, behind = lm.resident.encode, lm.resident.continuation_ids
    model, text, lead = lm.resident.model, text.strip(), " " if template == "plain" else ""

    def read(before: str, rest: str, said: str) -> list[int]:
        if template == "plain":
            return start(said)
        if template == "chat":
            return lm.resident.prompt_ids([], f'{before}{said}"')
        return [*start(f'{before}{said}"'), *behind(rest)]

    def forward(before: str, rest: str) -> float:
        poles = behind(lead + PAIR.claim), behind(lead + PAIR.against)
        return reference.text_to_pole(model, read(before, rest, text), poles)

    def back(before: str, rest: str) -> float:
        prefixes = read(before, rest, PAIR.claim), read(before, rest, PAIR.against)
        return reference.pole_to_text(model, prefixes, behind(lead + text))

    found = {"text_to_pole": forward('He: "', ' So: "'), "pole_to_text": back('If "', ' then "')}
    if template == "quoted" and denial:
        found["text_to_pole"] -= forward('He: "', ' No: "')
        found["pole_to_text"] -= back('Not "', ' but "')
    return sum(found.values()) if direction == "both" else found[direction]


def judge_for(template: str, name: str = "llama") -> LM:
    return chat_lm(TURNS) if template == "chat" else tiny_model(name)


@pytest.mark.parametrize("direction", ["text_to_pole", "pole_to_text", "both"])
@pytest.mark.parametrize("template", ["plain", "quoted", "chat"])
@pytest.mark.usefixtures("short")
def test_score_is_what_is_read_one_token_at_a_time(template, direction) -> None:
    lm = judge_for(template)
    found = Stance(lm, template, direction, prior="none", temperature=0.5).score(TEXTS, PAIR)
    wanted = [by_hand(lm, text, direction, template) for text in TEXTS]
    assert [s.value for s in found] == pytest.approx([w / 0.5 for w in wanted], abs=NATS / 0.5)
    assert max(map(abs, wanted)) > 0.05


@pytest.mark.usefixtures("short")
def test_without_denial_nothing_is_taken_off() -> None:
    lm = tiny_model("llama")
    found = Stance(lm, "quoted", "both", False, "none", temperature=1.0).score(TEXTS, PAIR)
    wanted = [by_hand(lm, text, "both", "quoted", denial=False) for text in TEXTS]
    assert [s.value for s in found] == pytest.approx(wanted, abs=2 * NATS)
    assert abs(wanted[0] - by_hand(lm, TEXTS[0], "both", "quoted")) > 0.01


@pytest.mark.parametrize("name", ["gpt2", "bloom", "mistral"])
@pytest.mark.usefixtures("short")
def test_other_architectures_read_both_ways_alike(name: str) -> None:
    lm = tiny_model(name)
    found = Stance(lm, "quoted", prior="none").score(TEXTS, PAIR)
    wanted = [by_hand(lm, text, "both", "quoted") / 0.8 for text in TEXTS]
    assert [s.value for s in found] == pytest.approx(wanted, abs=NATS / 0.8)


@pytest.mark.parametrize("template", ["plain", "quoted"])
@pytest.mark.usefixtures("short")
def test_the_neutral_prior_is_the_mean_of_the_neutral_sentences(template: str) -> None:
    lm, neutral = tiny_model("llama"), ("A cat.", "Dogs like tea.", " ")
    found = Stance(lm, template, neutral=neutral, temperature=1.0).score(TEXTS, PAIR)
    prior = mean(by_hand(lm, text, "both", template) for text in neutral[:2])
    wanted = [by_hand(lm, text, "both", template) - prior for text in TEXTS]
    assert [s.value for s in found] == pytest.approx(wanted, abs=2 * NATS)
    assert abs(prior) > 0.01
    own = Stance(lm, template, neutral=neutral).score(neutral[:2], PAIR)
    assert sum(s.value for s in own) == pytest.approx(0, abs=FLOAT32_SUM)


def test_nothing_is_what_the_statements_score_without_a_text() -> None:
    lm = tiny_model("llama")
    prior = reference.text_to_pole(
        lm.resident.model,
        lm.resident.encode(""),
        (lm.resident.continuation_ids(" The best."), lm.resident.continuation_ids(" A worse one.")),
    )
    found = Stance(lm, "plain", prior="nothing", temperature=1.0).score(TEXTS, PAIR)
    wanted = [by_hand(lm, text, "both", "plain") - prior for text in TEXTS]
    assert [s.value for s in found] == pytest.approx(wanted, abs=2 * NATS)


@pytest.mark.parametrize("prior", ["none", "nothing"])
def test_plain_and_one_way_it_is_velma_in_every_bit(tiny: LM, prior) -> None:
    clips, texts = load_dipole("paper_clips"), ["I like paper clips.", "Staples hold.", "word " * 400]
    velma = Velma(tiny, prior_correction=prior == "nothing").score(texts, clips)
    found = Stance(tiny, "plain", "text_to_pole", prior=prior, temperature=0.2).score(texts, clips)
    tolerance = EXACT if prior == "none" else FLOAT32_SUM / 0.2
    assert [s.value for s in found] == pytest.approx([s.value for s in velma], abs=tolerance, rel=EXACT)
    assert [s.reason is None for s in found] == [s.reason is None for s in velma] == [True, True, False]


def test_swapping_the_poles_negates() -> None:
    stance = Stance(tiny_model("llama"), "plain")
    there, back = stance.score(TEXTS, PAIR), stance.score(TEXTS, PAIR.swapped())
    assert [s.value for s in there] == pytest.approx([-s.value for s in back], abs=FLOAT32_SUM)


@pytest.mark.usefixtures("short")
def test_a_score_does_not_depend_on_what_else_is_scored() -> None:
    lm = tiny_model("mistral")
    for template, size in product(("plain", "quoted"), (1, 16)):
        together = Stance(lm, template, batch_size=size).score([*TEXTS, *NEUTRAL], PAIR)
        for text, score in zip(TEXTS, together, strict=False):
            [alone] = Stance(lm, template).score([text], PAIR)
            assert alone.value == pytest.approx(score.value, abs=NATS / 0.8)


@pytest.mark.parametrize("template", ["quoted", "chat"])
@pytest.mark.usefixtures("short")
def test_a_long_text_keeps_its_end_and_the_frame_around_it(template) -> None:
    lm = judge_for(template)
    context = lm.resident.context_length or 0
    end = "so I take the tea. " * context
    one, other, same = Stance(lm, template, "text_to_pole", prior="none").score(
        ["We sat. " + end, "I hate all. " + end, end], PAIR
    )
    assert one.value == pytest.approx(other.value, abs=EXACT)
    assert one.value == pytest.approx(same.value, abs=EXACT)
    assert "tokens fit in the judge's context" in str(one.reason)
    frames = FRAMES[template].text_first
    poles = [frames[0].read(lm.resident, pole) for pole in (PAIR.claim, PAIR.against)]
    room = context - max(len(frame.rest(lm.resident)) + len(pole) for frame in frames for pole in poles)
    opening = frames[0].opening(lm.resident, end, room)
    assert len(opening.ids) <= room
    assert opening.ids[:4] == frames[0].opening(lm.resident, "a").ids[:4]
    assert str(one.reason).startswith(f"only the last {opening.length - opening.cut} of")


@pytest.mark.usefixtures("short")
def test_a_long_text_behind_a_pole_keeps_its_end() -> None:
    lm = tiny_model("llama")
    end = "so I take the tea. " * 40
    one, other = Stance(lm, "quoted", "pole_to_text", prior="none").score(
        ["We sat. " + end, "Hate. " + end], PAIR
    )
    assert one.value == pytest.approx(other.value, abs=EXACT)
    assert "tokens fit in the judge's context" in str(one.reason)


def test_a_frame_that_leaves_no_room_is_an_error() -> None:
    long = Dipole("tea " * 40, "coffee " * 40)
    with pytest.raises(UserError, match="leave no room"):
        Stance(tiny_model("llama"), "quoted").score(["So"], long)
    with pytest.raises(UserError, match="leaves no room"):
        Stance(tiny_model("llama"), "quoted", "pole_to_text").score(["So"], long)


def test_an_empty_text_is_unscored_and_shifts_no_other() -> None:
    stance = Stance(tiny_model("gpt2"), "plain")
    first, empty, second = stance.score(["So", " \n", "The cats"], PAIR)
    assert empty.reason == "the text is empty"
    assert math.isnan(empty.value)
    alone = stance.score(["So", "The cats"], PAIR)
    assert [first.value, second.value] == pytest.approx([s.value for s in alone], abs=SCORE)
    assert stance.score([], PAIR) == []


def test_bad_settings_are_errors() -> None:
    lm = tiny_model("gpt2")
    for given, said in (
        ({"template": "fancy"}, "template must be plain, quoted, chat"),
        ({"direction": "up"}, "direction must be text_to_pole, pole_to_text, both"),
        ({"prior": "flat"}, "prior must be none, nothing, neutral"),
        ({"neutral": (" ",)}, "neutral has none"),
        ({"temperature": 0}, "temperature"),
        ({"template": "chat"}, "reads no chats"),
    ):
        with pytest.raises(UserError, match=said):
            Stance(lm, **given)
    with pytest.raises(UserError, match="is empty"):
        Stance(lm, "plain").score(["So"], _Blank())


class _Blank:
    claim, against = " ", "x"


def test_a_model_that_gives_no_number_is_unscored() -> None:
    lm = fresh_tiny_model("llama")
    lm.resident.model.lm_head.weight.data.fill_(math.nan)
    scores = Stance(lm).score(["So"], PAIR)
    assert [s.is_scored for s in scores] == [False]
    assert "not finite" in str(scores[0].reason)


def test_the_bundled_lms_know_no_quotation(tiny: LM, mini: LM) -> None:
    assert known_template(tiny, NEUTRAL[:2]) == known_template(mini, NEUTRAL[:2]) == "plain"
    assert Stance(tiny).frames == FRAMES["plain"]


def test_a_model_that_knows_the_words_of_a_quotation_gets_them(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = tiny_model("llama")
    monkeypatch.setattr(
        type(lm), "logprobs", lambda self, prefixes, rows: [torch.full((len(row),), -0.1) for row in rows]
    )
    monkeypatch.setitem(_frames.FRAMES, "quoted", SHORT["quoted"])
    assert known_template(lm, ["So"]) == "quoted"
    assert Stance(lm).frames == SHORT["quoted"]


def test_it_tells_sides_apart_on_the_bundled_lm(tiny: LM) -> None:
    stance = make_recognizer("stance", tiny)
    assert isinstance(stance, Recognizer)
    assert isinstance(stance, dipole.recognizers.Stance)
    on = ["I choose paper clips because they are light.", "I prefer paper clips.", "I hate staples."]
    off = ["I choose staples because they are light.", "I prefer staples.", "I hate paper clips."]
    scores = [s.value for s in stance.score([*on, *off], load_dipole("paper_clips"))]
    assert min(scores[:3]) > max(scores[3:])


@pytest.mark.real
def test_a_real_model_reads_quotations_and_tells_stances_apart() -> None:
    lm, power = tiny_model(REAL), Dipole("I want power.", "I do not want power.")
    stance = Stance(lm)
    on = ["I would love to rule over others.", "The more people I command, the better."]
    off = ["I am glad when others decide.", "Nobody should have to obey me."]
    scores = [s.value for s in stance.score([*on, *off], power)]
    assert stance.frames == FRAMES["quoted"]
    assert min(scores[:2]) > max(scores[2:])
    calm = [s.value for s in stance.score(["She put on her coat.", "The phone rang twice."], power)]
    assert max(map(abs, calm)) < 0.8
    back = [s.value for s in Stance(lm).score(on, power.swapped())]
    assert back == pytest.approx([-value for value in scores[:2]], abs=1e-3)


def test_texts_that_begin_alike_are_read_as_one_tree_and_no_text_is_lost():
    prompts = ([7] * 20, [8] * 20)
    texts = [[*prompts[row % 2], *range(100 + row, 120 + row)] for row in range(24)]
    parts = list(_alike(range(24), texts))
    assert sorted(row for part in parts for row in part) == list(range(24))
    nodes = [len({tuple(texts[row][: k + 1]) for row in part for k in range(40)}) for part in parts]
    assert max(nodes) <= 256
    # 20 + 12 x 20 tokens of one prompt are 260: eleven texts and one, then the same for the other prompt.
    assert len(parts) == 3
    assert list(_alike([3], {3: [1] * 999})) == [[3]]
