"""Controls compared across families: pure parts against slow references, the whole on tiny random LMs."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from architectures import tiny_model
from dipole.controls.best_of import BestOf
from dipole.controls.prompt import Prompt
from dipole.effects import Change, Interval
from dipole.evaluation.compare import compare
from dipole.evaluation.families import Comparison, compare_controls, comparison_to_dict, sweep
from dipole.evaluation.families_fit import fit, named
from dipole.evaluation.families_matched import value_at, value_interval
from dipole.evaluation.families_null import null_of
from dipole.evaluation.families_records import Point
from dipole.evaluation.families_verdict import did_nothing, judge_curve
from dipole.evaluation.meters.recognizers import wrong_way
from dipole.evaluation.statistics import resampling, wilson
from dipole.interventions.activations import SteeringVector
from dipole.interventions.logits import Boost, made_for
from dipole.lm import LM
from dipole.protocols import Intervention, JudgedBy, Run
from dipole.types import UserError
from evaluation import fakes
from evaluation.fakes import DIPOLE, OTHER
from reference.families import effect_at, wrong_share
from tolerance import ESTIMATE, LOSS

NEW = 6


# Matched KL


def test_value_between_two_strengths_by_hand() -> None:
    # Roots 0, 1, 2; the root of 2.25 is 1.5, halfway between the last two.
    assert value_at([0.0, 1.0, 4.0], [0.5, 0.6, 0.9], 2.25) == pytest.approx(0.75, abs=LOSS)
    assert value_at([0.0, 1.0, 4.0], [0.5, 0.6, 0.9], 0.25) == pytest.approx(0.55, abs=LOSS)
    assert value_at([0.0, 1.0, 4.0], [0.5, 0.6, 0.9], 4.0) == pytest.approx(0.9, abs=LOSS)
    assert math.isnan(value_at([0.0, 1.0, 4.0], [0.5, 0.6, 0.9], 4.01))


def test_a_dip_counts_at_its_first_crossing() -> None:
    kls, values = [0.0, 4.0, 1.0, 9.0], [0.0, 0.8, 0.2, 1.0]
    assert value_at(kls, values, 2.25) == pytest.approx(0.6, abs=LOSS)
    assert value_at(kls, values, 6.25) == pytest.approx(0.2 + 0.75 * 0.8, abs=LOSS)


@pytest.mark.parametrize("seed", range(4))
def test_values_at_matched_kl_agree_with_a_walk_along_the_curve(seed: int) -> None:
    random = np.random.default_rng(seed)
    kls = np.concatenate([[0.0], random.gamma(1.0, 2.0, 5)])
    values = random.random(6)
    for target in (0.3, 1.0, 2.0):
        expected = effect_at(kls.tolist(), values.tolist(), target)
        assert float(value_at(kls, values, target)) == pytest.approx(expected, abs=1e-4, nan_ok=True)


def test_matched_interval_resamples_effect_and_kl_together() -> None:
    random = np.random.default_rng(0)
    prompts = np.repeat(np.arange(8), 20)
    kls = np.stack([np.zeros(160), random.gamma(4.0, 0.25, 160), random.gamma(4.0, 1.0, 160)])
    values = (random.random((3, 160)) < np.array([[0.4], [0.6], [0.9]])).astype(float)
    plan = resampling(prompts.tolist(), 1)
    found = value_interval(kls, values, 2.0, plan)
    assert found.mean == pytest.approx(
        effect_at(kls.mean(1).tolist(), values.mean(1).tolist(), 2.0), abs=1e-4
    )
    draws = []
    for _ in range(1000):
        rows = np.concatenate([np.flatnonzero(prompts == p) for p in random.integers(8, size=8)])
        draws.append(float(value_at(kls[:, rows].mean(1), values[:, rows].mean(1), 2.0)))
    spread = float(np.std(draws))
    assert (found.high - found.low) / 2 == pytest.approx(2.36 * math.sqrt(8 / 7) * spread, rel=0.25)


def test_matched_interval_holds_what_the_kl_alone_leaves_open() -> None:
    prompts = np.repeat(np.arange(8), 4)
    far = 1.0 + 0.5 * (prompts % 4)
    kls = np.stack([np.zeros(32), far, 4 * far])
    values = np.broadcast_to(np.array([[0.0], [0.5], [1.0]]), (3, 32))  # the same in every unit
    found = value_interval(kls, values, 2.0, resampling(prompts.tolist(), 1))
    assert found.low < found.mean - 0.01
    assert found.high > found.mean + 0.01


def test_matched_share_of_one_has_wilsons_bounds() -> None:
    plan = resampling([i % 8 for i in range(64)], 0)
    kls = np.stack([np.zeros(64), np.ones(64), np.full(64, 4.0)])
    found = value_interval(kls, np.stack([np.zeros(64), np.ones(64), np.ones(64)]), 2.0, plan, share=True)
    assert found == wilson(64, 64)


# Wrong way


@pytest.mark.parametrize("strength", [1.0, -1.0])
def test_wrong_way_share_is_counted_one_by_one(strength: float) -> None:
    random = np.random.default_rng(2)
    before, after = random.normal(size=200), random.normal(size=200)
    before[:5], after[3:9] = math.nan, math.nan
    wrong, right = wrong_way(before, after, strength, 0.5)
    assert np.nanmean(wrong) == pytest.approx(wrong_share(before.tolist(), after.tolist(), strength, 0.5))
    assert np.nanmean(right) == pytest.approx(wrong_share(before.tolist(), after.tolist(), -strength, 0.5))
    assert np.isnan(wrong).sum() == 9


def test_a_move_within_the_tolerance_is_no_move() -> None:
    wrong, right = wrong_way(np.array([0.0, 0.0, 0.0]), np.array([-0.4, 0.4, -0.6]), 2.0, 0.5)
    assert wrong.tolist() == [0.0, 0.0, 1.0]
    assert right.tolist() == [0.0, 0.0, 0.0]


# The null


def test_null_of_a_vector_is_as_long_and_points_elsewhere() -> None:
    rows = torch.randn(3, 512, generator=torch.Generator().manual_seed(0)) * torch.tensor(
        [[1.0], [5.0], [0.1]]
    )
    vector = SteeringVector((0, 2, 3), rows, operator="add", keep_norm=True, base_name="x")
    found = null_of(vector, [], 7)
    assert found is not None
    label, made = found
    assert label == "random direction"
    assert isinstance(made, SteeringVector)
    assert (made.layers, made.operator, made.keep_norm) == ((0, 2, 3), "add", True)
    assert torch.allclose(made.vectors.norm(dim=-1), rows.norm(dim=-1), rtol=LOSS)
    cosines = (made.unit_vectors * vector.unit_vectors).sum(-1)
    assert float(cosines.abs().max()) < 0.25  # five standard errors at this width
    assert torch.equal(made.vectors, null_of(vector, [], 7)[1].vectors)  # type: ignore[index, union-attr]
    assert not torch.equal(made.vectors, null_of(vector, [], 8)[1].vectors)  # type: ignore[index, union-attr]


def test_null_directions_have_no_favourite() -> None:
    vector = SteeringVector((0,), torch.ones(1, 4))
    drawn = torch.stack([null_of(vector, [], seed)[1].vectors[0] for seed in range(2000)])  # type: ignore[index, union-attr]
    assert float(drawn.mean(0).abs().max()) < 0.1
    assert torch.allclose(drawn.square().mean(0), torch.ones(4), atol=0.1)


def test_null_of_a_boost_takes_other_words_that_the_base_writes() -> None:
    boost = Boost(
        torch.tensor([3, 5, 8]), torch.tensor([2.0, 2.0, -2.0]), base_name="x", base_fingerprint="y"
    )
    found = null_of(boost, [3, 5, 8, 11, 12, 13, 14], 0)
    assert found is not None
    made = found[1]
    assert isinstance(made, Boost)
    assert len(set(made.tokens.tolist())) == 3
    assert set(made.tokens.tolist()) <= {11, 12, 13, 14}
    assert torch.equal(made.values, boost.values)
    assert null_of(boost, [3, 5, 8, 11, 12], 0) is None
    wider = null_of(boost, [3, 5, 8, 11, 12], 0, vocabulary=6)
    assert wider is not None
    assert set(wider[1].tokens.tolist()) < {0, 1, 2, 4}  # type: ignore[attr-defined]


def test_a_prefix_has_no_null() -> None:
    assert null_of(Prompt()._prefix(tiny_model("llama"), DIPOLE, (), ()), [1, 2], 0) is None


# The verdict


def point(
    strength: float, claim: float, ratio: float = 1.0, kl: float = 1.0, half: float = 0.05, same: float = 0.1
) -> Point:
    """A point of a base that takes the claim's side in half of its completions."""
    before = Interval(0.5, 0.45, 0.55)

    def change(name: str, after: float, paired: bool) -> Change:
        value = Interval(after, after - half, after + half)
        difference = Interval(after - 0.5, after - 0.5 - half, after - 0.5 + half) if paired else None
        return Change(name, name, "share", before if paired else None, value, difference, False, 64)

    changes = (
        change("claim_share", claim, True),
        change("against_share", 1 - claim, True),
        change("kl", kl, False),
        change("perplexity_ratio", ratio, False),
    )
    return Point(strength, changes, same=same)


BASE = point(0.0, 0.5, kl=0.0, half=0.0, same=1.0)


def test_target_is_reached() -> None:
    found = judge_curve([point(-1, 0.1), BASE, point(1, 0.9, 1.2)], "claim_share", True, ())
    assert found.reached
    assert found.pushes_back
    assert not found.did_nothing
    assert "It reaches 85%" in " ".join(found.sentences)


@pytest.mark.parametrize(
    ("points", "said"),
    [
        (
            [BASE, point(0.5, 0.6), point(1, 0.7)],
            "It can't reach 85% with perplexity within 1.3 times the base's own, because at strength 1 the "
            "share on the claim's side is 70%, and no strength measured does better within that perplexity.",
        ),
        (
            [BASE, point(0.5, 0.8, 1.1), point(1, 0.95, 1.6)],
            "because at strength 1 its perplexity under the base is 1.60 times the base's own; the best "
            "within that perplexity is strength 0.5: 80% at 1.10 times.",
        ),
        (
            [BASE, point(0.5, 0.9, 1.1), point(1, 0.7, 1.6)],
            "because the share on the claim's side is 70% and its perplexity under the base is 1.60 times "
            "the base's own; strength 0.5 does: 90% at 1.10 times.",
        ),
        ([BASE, point(1, 0.95, 2.0)], "and no positive strength keeps the perplexity that low."),
    ],
)
def test_a_missed_target_says_which_half_failed(points: list[Point], said: str) -> None:
    found = judge_curve(points, "claim_share", True, ())
    assert found.reached is False
    assert said in " ".join(found.sentences)


def test_negative_strength_is_judged() -> None:
    assert judge_curve([point(-1, 0.52), BASE, point(1, 0.9)], "claim_share", True, ()).pushes_back is False
    found = judge_curve([point(-2, 0.1), point(-1, 0.7), BASE, point(1, 0.9)], "claim_share", True, ())
    assert found.pushes_back is False  # -1 is looked at where it is there
    assert "does not push the other way" in " ".join(found.sentences)
    assert judge_curve([BASE, point(1, 0.9)], "claim_share", True, ()).pushes_back is None


def test_nothing_is_said_to_be_nothing() -> None:
    idle = point(1, 0.51, kl=0.001)
    assert did_nothing(idle, "claim_share")
    assert judge_curve([BASE, idle], "claim_share", True, ()).sentences[0].startswith("It did nothing")
    assert not did_nothing(point(1, 0.51, kl=0.5), "claim_share")  # it wrote something else
    assert not did_nothing(point(1, 0.6, kl=0.001), "claim_share")  # its interval is apart from 0
    assert did_nothing(point(1, 0.5, kl=5.0, same=1.0), "claim_share")  # not one token differs


def test_an_ungraded_control_has_no_target() -> None:
    assert judge_curve([BASE, point(1, 0.7)], "claim_share", False, ()).reached is None


# Labels


def test_labels_tell_controls_of_one_name_apart() -> None:
    found = named([Prompt(), BestOf(), BestOf(n=4), ("mine", BestOf(n=2)), BestOf(n=4)])
    assert [c.label for c in found] == ["prompt", "best_of", "best_of (n 4)", "mine", "best_of (n 4) #2"]
    with pytest.raises(UserError, match="Two controls are called 'mine'"):
        named([("mine", BestOf()), ("mine", Prompt())])


# End to end


@dataclass(frozen=True)
class Pushes:
    """A control whose boost depends on its seed.

    Attributes:
        seed: Seed.
        size: Nats.
        reward: Recognizer.
    """

    seed: int = 0
    size: float = 3.0
    reward: str = "velma"

    name: ClassVar[str] = "pushes"
    takes: ClassVar[tuple[str, ...]] = ("dipole",)
    surface: ClassVar[str] = "logits"
    makes: ClassVar[type[Boost]] = Boost
    graded: ClassVar[bool] = True
    paper: ClassVar[str] = "Nobody 2026"
    optional_concept: ClassVar[bool] = False

    @property
    def judged_by(self) -> JudgedBy:
        return JudgedBy((self.reward,))

    def fit(self, lm: LM, concept: Any, run: Run | None = None) -> Intervention:
        if self.size < 0:
            raise UserError("There are no words.")
        tokens = torch.tensor([5 + self.seed, 40 + self.seed, 60])
        values = torch.tensor([1.0, 1.0, -1.0]) * self.size
        return Boost(tokens, values, **made_for(lm))


TINY = Prompt(shots="0", n=4, max_new_tokens=4)


@pytest.fixture(scope="module")
def compared() -> Comparison:
    lm = tiny_model("llama")
    _, _, adapter = fakes.changed()
    steps: list[tuple[int, int, str]] = []
    found = compare_controls(
        lm,
        DIPOLE,
        [Pushes(), ("nothing", Pushes(size=0.0)), Pushes(size=-1.0), ("lora", adapter), BestOf(n=2), TINY],
        strengths=(-1, 2),
        n=12,
        repeats=2,
        seed=3,
        max_new_tokens=NEW,
        bystanders=[OTHER, DIPOLE],
        bystander_n=4,
        kl_values=(0.1, 1000.0),
        progress=lambda _, done, total, what: steps.append((done, total, what)),
    )
    assert [done for done, _, _ in steps] == list(range(1, len(steps) + 1))
    assert all(done <= total for done, total, _ in steps)
    return found


def test_every_control_has_its_curve_and_its_null(compared: Comparison) -> None:
    labels = [curve.label for curve in compared.curves]
    assert labels == [
        "pushes",
        "pushes: random words",
        "nothing",
        "nothing: random words",
        "lora",
        "best_of",
        "prompt",
    ]
    assert [p.strength for p in compared["pushes"].points] == [-1.0, 0.0, 1.0, 2.0]
    assert [p.strength for p in compared["best_of"].points] == [-1.0, 0.0, 1.0]
    assert [label for label, _ in compared.failed] == ["pushes (size -1.0)"]
    assert compared.failed[0][0] in compared.notes[0]


def test_points_are_what_compare_measures(compared: Comparison) -> None:
    lm, _, adapter = fakes.changed()
    single = compare_controls(
        lm, DIPOLE, [("lora", adapter), TINY], strengths=(1,), n=12, seed=3, max_new_tokens=NEW, null=False
    )
    expected = compare(lm, adapter.apply(lm), DIPOLE, n=12, seed=3, max_new_tokens=NEW)
    found = single["lora"].at(1.0)
    assert found is not None
    for name in (
        "claim_share",
        "against_share",
        "velma_probability",
        "kl",
        "perplexity_ratio",
        "distinct_2_ratio",
    ):
        own, other = found[name], expected[name]
        assert own.after.mean == pytest.approx(other.after.mean, rel=1e-5), name
        if other.difference is not None:
            assert own.difference is not None
            assert own.difference.low == pytest.approx(other.difference.low, rel=1e-4, abs=1e-7), name
    both = compared["lora"].at(1.0)
    assert both is not None
    assert both.repeats["kl"][0] == pytest.approx(expected["kl"].after.mean, rel=1e-5)
    assert both["kl"].after.mean == pytest.approx(np.mean(both.repeats["kl"]), rel=1e-9)
    assert both["kl"].n == 24


def test_repeats_fit_anew_where_there_is_a_seed(compared: Comparison) -> None:
    made = fit(named([Pushes(seed=4)])[0], tiny_model("llama"), DIPOLE, 3)
    assert [i.tokens[0].item() for i in made.interventions] == [9, 10, 11]  # type: ignore[attr-defined]
    applied = made.apply(tiny_model("llama"), 1.0, 3)
    assert [lm.applied[0].intervention for lm in applied] == list(made.interventions)
    assert len(compared.curves[0].fit_seconds) == 2
    assert len(compared["best_of"].fit_seconds) == 1
    assert compared["lora"].fit_seconds == ()
    assert len(compared["lora"].time_ratios) == 2


def test_a_control_that_does_nothing_is_found_out(compared: Comparison) -> None:
    idle = compared["nothing"]
    assert idle.verdict.did_nothing
    assert idle.at(1.0).same == 1.0  # type: ignore[union-attr]
    assert any("nothing did nothing." in note for note in compared.notes)
    assert not compared["lora"].verdict.did_nothing


def test_matched_effects_say_where_there_is_none(compared: Comparison) -> None:
    lora = compared["lora"]
    assert [m.kl for m in lora.matched][:2] == [0.1, 1000.0]
    assert lora.matched[0].state == "between"
    assert 0 < lora.matched[0].strength < 2
    assert lora.matched[1].state == "not reached"
    assert math.isnan(lora.matched[1].value.mean)
    known = list(compared.kl_names)
    assert known == ["best_of", "prompt"]
    own = compared["prompt"].matched
    assert [m.state for m in own] == ["no curve", "no curve", "no curve", "measured"]
    assert own[3].value.mean == pytest.approx(compared["prompt"].at(1.0)["claim_share"].after.mean)  # type: ignore[index]


def test_best_of_has_a_bound_only(compared: Comparison) -> None:
    one = compared["best_of"].at(1.0)
    assert one is not None
    assert one.kl_is_bound
    assert one["kl"].after.mean == pytest.approx(math.log(2) - 0.5)
    assert math.isnan(one["kl"].after.low)
    assert one["perplexity_ratio"].after.mean > 0


def test_what_a_control_optimised_is_marked(compared: Comparison) -> None:
    for label, marked in ((compared.curves[0].label, True), ("best_of", True), ("lora", False)):
        one = compared[label].at(1.0)
        assert one is not None
        assert one["velma_probability"].in_loop is marked
        assert one["wrong_way_share"].in_loop is marked
        assert not one["claim_share"].in_loop


def test_bystanders_are_watched_at_strength_one(compared: Comparison) -> None:
    one = compared["lora"].at(1.0)
    assert one is not None
    assert [b.name for b in one.bystanders] == ["cats"]
    lm, _, adapter = fakes.changed()
    expected = compare(
        lm, adapter.apply(lm), DIPOLE, n=2, seed=3, max_new_tokens=NEW, bystanders=[OTHER], bystander_n=4
    )
    assert one.bystanders[0].shift.mean == pytest.approx(expected.bystanders[0].shift.mean, abs=1e-6)
    assert all(not p.bystanders for p in compared["lora"].points if p.strength != 1)


def test_wrong_way_of_the_whole_agrees_with_a_recount() -> None:
    from dipole.recognizers.velma import Velma

    lm = tiny_model("llama")
    lora = ("lora", fakes.changed()[2])
    found = sweep(lm, DIPOLE, lora, (-1,), n=11, seed=3, max_new_tokens=NEW, tolerance=1e-4)
    judge = Velma(lm)
    scores = [
        [s.probability for s in judge.score([x.full_text for x in part], DIPOLE)]
        for part in (found.samples, found.curves[0].samples)
    ]
    one = found.curves[0].at(1.0)
    assert one is not None
    expected = [wrong_share(scores[0], scores[1], way, 1e-4) for way in (1.0, -1.0)]
    assert expected[0] != expected[1]
    assert one["wrong_way_share"].after.mean == pytest.approx(expected[0])
    assert one["right_way_share"].after.mean == pytest.approx(expected[1])


def test_everything_is_strict_json(compared: Comparison) -> None:
    data = json.loads(json.dumps(comparison_to_dict(compared), allow_nan=False))
    assert data["format"] == "dipole-comparison"
    assert [c["label"] for c in data["curves"]] == [c.label for c in compared.curves]
    one = data["curves"][0]["points"][2]
    assert one["strength"] == 1.0
    kept = {c["name"]: c["after"]["mean"] for c in one["changes"]}
    assert kept["kl"] == compared.curves[0].at(1.0)["kl"].after.mean  # type: ignore[index]
    assert data["curves"][0]["matched"][1]["value"]["mean"] is None


def test_sweep_is_one_curve() -> None:
    lm = tiny_model("llama")
    found = sweep(lm, DIPOLE, Pushes(), (0.5, 0, -1), n=4, max_new_tokens=NEW)
    assert found.sweep
    assert [c.label for c in found.curves] == ["pushes"]
    assert [p.strength for p in found.curves[0].points] == [-1.0, 0.0, 0.5, 1.0]
    assert [c.label for c in sweep(lm, DIPOLE, Pushes(), (), n=4, max_new_tokens=NEW, null=True).curves] == [
        "pushes",
        "pushes: random words",
    ]


def test_strength_zero_is_the_base(compared: Comparison) -> None:
    for curve in compared.curves:
        zero = curve.at(0.0)
        assert zero is not None
        assert zero.same == 1.0
        assert zero["kl"].after.mean == 0.0
        assert zero["perplexity_ratio"].after.mean == pytest.approx(1.0, abs=ESTIMATE)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"controls": []}, "nothing to compare"),
        ({"n": 0}, "n must be at least 1"),
        ({"repeats": 0}, "repeats must be at least 1"),
        ({"strengths": (math.nan,)}, "Strengths must be finite"),
        ({"kl_values": (0.0,)}, "KL values must be above 0"),
        ({"controls": [Pushes(size=-1.0), ("prompt", Pushes(size=-1.0)), TINY], "n": 1}, None),
    ],
)
def test_bad_input(changed: dict[str, Any], said: str | None) -> None:
    given = {"controls": [TINY], "n": 4, "max_new_tokens": 2, "null": False, **changed}
    controls = given.pop("controls")
    if said is None:
        found = compare_controls(tiny_model("llama"), DIPOLE, controls, **given)
        assert [label for label, _ in found.failed] == ["pushes", "prompt"]
        return
    with pytest.raises(UserError, match=said):
        compare_controls(tiny_model("llama"), DIPOLE, controls, **given)


def test_a_steered_base_is_refused() -> None:
    _, steered, _ = fakes.changed()
    with pytest.raises(UserError, match="already steered"):
        sweep(steered, DIPOLE, TINY)


def test_no_control_that_fits_is_an_error() -> None:
    with pytest.raises(UserError, match=r"No control could be fitted\. pushes: There are no words"):
        sweep(tiny_model("llama"), DIPOLE, Pushes(size=-1.0), n=2, max_new_tokens=2)
