"""What a run by a reward shows while it goes on: reasons to stop, and what its user should know."""

from __future__ import annotations

from collections.abc import Sequence

from dipole.concepts.text import same_pole, same_text
from dipole.controls.weights.loop import Stop
from dipole.protocols import Metrics, Poles, Run
from dipole.types import Sample

_STALL_ROUNDS = 20
_STALL_MOVE = 0.01
_STUCK = {
    True: "The recognizer may not tell the poles apart after this prompt; try "
    "`dipole score` on two completions, another prompt, or other wordings of the poles.",
    False: "The function may give nearly the same for all that the model writes; try other prompts.",
}


def stop_by_reward(
    history: list[Metrics], goal: float, unit: float = 1.0, bounded: bool = True
) -> Stop | None:
    """Nothing that could be scored, a reward that never moves, or a goal that is reached.

    Args:
        history: Rounds with `scored` and `reward_mean`.
        goal: Mean reward of three rounds that is enough; 0 is never.
        unit: A hundredth of it is no move.
        bounded: Whether rewards are probabilities, which can't move where they are nearly 1.
    """
    if history[-1]["scored"] == 0:
        return Stop(
            "Training stopped: none of the samples of a round could be scored by the reward.", undo=True
        )
    rewards = [m["reward_mean"] for m in history]
    still = len(history) >= _STALL_ROUNDS and max(rewards) - min(rewards) < _STALL_MOVE * unit
    if still and not (bounded and rewards[-1] >= 0.95):
        return Stop(
            f"Training stopped after {len(history)} rounds: the reward never moved (it stayed at "
            f"{rewards[-1]:.3f}). {_STUCK[bounded]}"
        )
    if goal and len(history) >= 3 and min(rewards[-3:]) >= goal:
        return Stop(f"Reached the reward of {goal:g} after {len(history)} rounds.")
    return None


def warn_of_repetition(run: Run, samples: Sequence[Sample], concept: Poles) -> float:
    """Share of samples that hold the claim word for word; the run is told once where that is most of them."""
    claim = same_pole(concept.claim)
    repeated = sum(claim in same_text(s.text) for s in samples) / len(samples) if claim else 0.0
    if repeated > 0.5:
        run.warn(
            f"More than half of a round's samples repeat the claim word for word ({repeated:.0%}): the "
            "reward is being met by regurgitation. Raise kl_coef, or look at the samples before trusting "
            "the reward."
        )
    return repeated
