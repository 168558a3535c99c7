"""`compare` end to end on tiny random LMs."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest

from dipole.concepts import Dipole
from dipole.effects import Effect
from dipole.evaluation.compare import compare
from dipole.evaluation.meters.bystanders import Watch, bystanders_of, watch
from dipole.evaluation.meters.protocol import Judge
from dipole.evaluation.serialise import effect_from_dict, effect_to_dict
from dipole.types import UserError, sample_seed
from evaluation import fakes
from evaluation.fakes import DIPOLE, OTHER, Letters

NEW = 8


@pytest.fixture(scope="module")
def effect() -> Effect:
    before, after, _ = fakes.changed()
    return compare(
        before,
        after,
        DIPOLE,
        n=15,
        max_new_tokens=NEW,
        meters=[Letters("i")],
        bystanders=[OTHER, DIPOLE],
        bystander_n=4,
    )


def test_samples_are_paired_and_counted(effect: Effect) -> None:
    assert effect.prompts == DIPOLE.held_out
    assert effect.held_out
    assert len(effect.samples_before) == len(effect.samples_after) == 15
    for old, new in zip(effect.samples_before, effect.samples_after, strict=True):
        assert (old.prompt, old.seed) == (new.prompt, new.seed)
    assert effect.samples_before[8].seed == sample_seed(0, 1, 0)
    assert [s.prompt for s in effect.samples_before].count(DIPOLE.held_out[0]) == 8


def test_shares_count_sides(effect: Effect) -> None:
    sides = [DIPOLE.side_taken(s.text) for s in effect.samples_after]
    assert effect.sides_after == tuple(sides)
    assert effect.changes[0].name == "claim_share"
    assert effect["claim_share"].after.mean == pytest.approx(sides.count("claim") / 15)
    assert effect["against_share"].after.mean == pytest.approx(sides.count("against") / 15)
    assert not effect["claim_share"].in_loop


def test_difference_is_after_less_before(effect: Effect) -> None:
    for change in effect.changes:
        if change.before is not None and change.difference is not None:
            assert change.difference.mean == pytest.approx(change.after.mean - change.before.mean)
            assert change.difference.low <= change.difference.high or math.isnan(change.difference.low)


def test_side_effects_are_there(effect: Effect) -> None:
    assert effect["kl"].after.mean > 0
    assert effect["kl"].unit == "nats/sequence"
    tokens = sum(len(s.token_ids) for s in effect.samples_after)
    assert effect["kl_token"].after.mean == pytest.approx(15 * effect["kl"].after.mean / tokens)
    ratio = effect["perplexity_base"].after.mean / effect["perplexity_base"].before.mean
    assert effect["perplexity_ratio"].after.mean == pytest.approx(ratio)
    ratio = effect["distinct_2"].after.mean / effect["distinct_2"].before.mean
    assert effect["distinct_2_ratio"].after.mean == pytest.approx(ratio)
    for name in (
        "distinct_1",
        "repeated_claim_rate",
        "self_repetition",
        "mean_length",
        "eos_rate",
        "kl_sampled",
    ):
        assert math.isfinite(effect[name].after.mean)


def test_base_perplexity_is_that_of_its_own_samples(effect: Effect) -> None:
    before, _, _ = fakes.changed()
    rows = before.logprobs(
        [s.prompt_ids for s in effect.samples_before], [s.token_ids for s in effect.samples_before]
    )
    nats = -sum(float(r.sum()) for r in rows)
    assert effect["perplexity_base"].before.mean == pytest.approx(
        math.exp(nats / sum(len(r) for r in rows)), rel=1e-4
    )


def test_bystanders_are_others(effect: Effect) -> None:
    assert [b.name for b in effect.bystanders] == ["cats"]
    shift = effect.bystanders[0].shift
    assert shift.mean == pytest.approx(effect.bystanders[0].after - effect.bystanders[0].before)
    assert effect["mean_bystander_shift"].after.mean == pytest.approx(abs(shift.mean))
    assert effect["mean_bystander_shift_signed"].after.mean == pytest.approx(shift.mean)
    assert effect["bystander_noise_floor"].after.mean >= 0


def test_the_same_seed_gives_the_same_effect(effect: Effect) -> None:
    before, after, _ = fakes.changed()
    again = compare(
        before,
        after,
        DIPOLE,
        n=15,
        max_new_tokens=NEW,
        meters=[Letters("i")],
        bystanders=[OTHER],
        bystander_n=4,
    )
    assert effect_to_dict(again) == effect_to_dict(effect)


def test_json_round_trip(effect: Effect) -> None:
    text = json.dumps(effect_to_dict(effect), allow_nan=False)
    back = effect_from_dict(json.loads(text))
    assert effect_to_dict(back) == effect_to_dict(effect)
    assert back.samples_after == effect.samples_after
    first = replace(effect.changes[0], after=replace(effect.changes[0].after, low=math.nan, high=math.inf))
    odd = effect_from_dict(
        json.loads(json.dumps(effect_to_dict(replace(effect, changes=(first,))), allow_nan=False))
    )
    assert math.isnan(odd.changes[0].after.low)
    assert odd.changes[0].after.high == math.inf


def test_an_effect_of_before_there_were_chats_is_read(effect: Effect) -> None:
    data = effect_to_dict(effect)
    older = [{k: v for k, v in sample.items() if k != "joint"} for sample in data["samples_after"]]
    assert effect_from_dict({**data, "samples_after": older}).samples_after == effect.samples_after


def test_damaged_json_is_refused(effect: Effect) -> None:
    data = effect_to_dict(effect)
    with pytest.raises(UserError, match="not an effect"):
        effect_from_dict({"changes": []})
    with pytest.raises(UserError, match="damaged"):
        effect_from_dict({**data, "changes": [{}]})


def test_nothing_done_is_said_and_is_exactly_nothing() -> None:
    before, _, adapter = fakes.changed()
    effect = compare(
        before, adapter.apply(before, 0.0), DIPOLE, n=8, max_new_tokens=NEW, meters=[], bystanders=[OTHER]
    )
    assert effect.notes[0].startswith("It did nothing: every completion is the same")
    assert effect["kl"].after.mean == 0
    assert effect["perplexity_ratio"].after == type(effect["kl"].after)(1.0, 1.0, 1.0)
    assert effect["distinct_2_ratio"].after.mean == 1
    assert effect.bystanders[0].shift.mean == 0


def test_the_reward_is_in_loop_and_the_meter_not() -> None:
    before, after, _ = fakes.changed()

    class Prize(Letters):
        name = "prize"

    effect = compare(before, after, DIPOLE, n=6, max_new_tokens=NEW, reward=Prize("e"), meters=[Letters("i")])
    assert effect["prize_probability"].in_loop
    assert "the reward itself" in effect["prize_log_odds"].label
    assert not effect["letters_log_odds"].in_loop


def test_default_meters_leave_the_reward_out() -> None:
    before, after, _ = fakes.changed()
    effect = compare(before, after, DIPOLE, n=6, max_new_tokens=NEW, reward=Letters())
    names = {c.name for c in effect.changes if c.name.endswith("_log_odds") and not c.in_loop}
    assert {"velma_log_odds", "mentions_log_odds"} <= names


def test_prompts_of_the_dipole_may_have_been_trained_on() -> None:
    before, after, _ = fakes.changed()
    lacking = replace(DIPOLE, held_out=())
    effect = compare(before, after, lacking, n=2, max_new_tokens=NEW, meters=[])
    assert not effect.held_out
    assert effect.prompts == DIPOLE.prompts
    assert any("may have been trained on" in note for note in effect.notes)
    effect = compare(
        before, after, DIPOLE, n=2, max_new_tokens=NEW, meters=[], trained_prompts=[" " + DIPOLE.held_out[1]]
    )
    assert not effect.held_out
    assert any("was also trained on" in note for note in effect.notes)


def test_bad_input_is_refused() -> None:
    before, after, _ = fakes.changed()
    with pytest.raises(UserError, match="nothing to continue"):
        compare(before, after, replace(DIPOLE, prompts=(), held_out=()))
    with pytest.raises(UserError, match="n must be at least 1"):
        compare(before, after, DIPOLE, n=0)


def test_bystander_samples_do_not_depend_on_company() -> None:
    before, after, _ = fakes.changed()
    third = replace(OTHER, claim="Dogs are the best.", against="Dogs are the worst.", name="dogs")

    def watched(*others: Dipole) -> Watch:
        return watch(before, others, Judge(Letters()), n=3, max_new_tokens=4)

    alone, together = watched(third).draw(after), watched(OTHER, third).draw(after)
    assert [s.token_ids for s in alone[0]] == [s.token_ids for s in together[1]]


def test_a_dipole_is_no_bystander_of_its_own() -> None:
    swapped = DIPOLE.swapped()
    bare = replace(OTHER, prompts=())
    assert bystanders_of(DIPOLE, [DIPOLE, swapped, OTHER, bare]) == ([OTHER], 1)


def test_only_what_is_nearer_to_the_claim_can_go_the_wrong_way() -> None:
    before, _, adapter = fakes.changed()
    bare = replace(DIPOLE, mentions={})
    effect = compare(before, adapter.apply(before, 0.5), bare, n=4, max_new_tokens=NEW, meters=[])
    change = effect["perplexity_base"].difference
    assert change is not None
    assert not change.excludes_zero  # it would be called nothing, were it the main quantity
    assert effect.notes[0].startswith("The dipole names no mentions")
    effect = compare(before, adapter.apply(before, 0.5), bare, n=4, max_new_tokens=NEW, meters=[Letters()])
    assert "letters probability" in effect.notes[0]
