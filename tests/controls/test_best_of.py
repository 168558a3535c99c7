"""Best of n against picking by hand."""

from __future__ import annotations

import math

import pytest

from dipole.concepts import load_dipole
from dipole.controls.best_of import BestOf
from dipole.evaluation.compare import compare
from dipole.interventions.decode import BestOf as Intervention
from dipole.lm import LM
from dipole.recognizers.velma import Velma
from dipole.types import UserError, sample_seed, scored_text

DIPOLE = load_dipole("paper_clips")
PROMPT = DIPOLE.prompts[0]


@pytest.mark.parametrize("strength", [1.0, -1.0])
def test_it_keeps_the_continuation_that_scores_best(mini: LM, strength: float) -> None:
    steered = BestOf(n=4).fit(mini, DIPOLE).apply(mini, strength)
    for kept in steered.generate(PROMPT, n=3, seed=7, max_new_tokens=12):
        k = next(k for k in range(3) if sample_seed(7, 0, k) in _family(kept.seed, k))
        seeds = _seeds(sample_seed(7, 0, k))
        drawn = [mini.sample([PROMPT], [seed], 12)[0] for seed in seeds]
        values = [s.value * strength for s in Velma(mini).score([scored_text(d) for d in drawn], DIPOLE)]
        assert kept.token_ids == drawn[max(range(4), key=lambda i: values[i])].token_ids


def _seeds(first: int) -> list[int]:
    return [first, *(sample_seed(first, 0, k) for k in range(1, 4))]


def _family(seed: int, k: int) -> list[int]:
    first = sample_seed(7, 0, k)
    return [first] if seed in _seeds(first) else []


def test_unscorable_continuations_are_taken_last(mini: LM, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Intervention("velma", DIPOLE.to_dict(), 3)
    scores = iter([math.nan, -5.0, -7.0, math.nan, math.nan, math.nan])
    monkeypatch.setattr(Intervention, "_scores", lambda *_: [next(scores) for _ in range(6)])
    kept = made.apply(mini).sample([PROMPT, PROMPT], [3, 4], 4)
    assert [s.seed for s in kept] == [sample_seed(3, 0, 1), 4]


def test_its_kl_is_reported_as_a_bound(mini: LM) -> None:
    effect = compare(mini, BestOf(n=2).fit(mini, DIPOLE).apply(mini), DIPOLE, n=8, max_new_tokens=4)
    assert effect["kl"].after.mean == pytest.approx(math.log(2) - 0.5)
    assert "upper bound" in effect["kl"].label
    with pytest.raises(KeyError):
        effect["kl_sampled"]


@pytest.mark.parametrize("fields", [{"n": 1}, {"recognizer": "velmo"}])
def test_meaningless_fields_are_refused(fields: dict[str, object]) -> None:
    with pytest.raises(UserError, match=r"at least 2|Did you mean 'velma'"):
        BestOf(**fields)  # type: ignore[arg-type]
