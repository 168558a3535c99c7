"""What a control learns from: texts behind prompts, given or written by the model itself when told a side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import torch

from dipole.controls.weights.rollout import Text, gather, sample_rows, share
from dipole.corpora.preferences import Prompt
from dipole.protocols import LM, Poles, Recognizer
from dipole.reading.told import told_by
from dipole.resident import Resident
from dipole.types import UserError, scored_text

_SAMPLED = 64  # completions a forward while the texts are drawn


class Lesson(NamedTuple):
    """A text to learn, or to unlearn.

    Attributes:
        ids: Its token ids, and those of its prompt.
        wanted: Whether it is one to write.
        prompt: What the user said.
        text: What stands behind it.
        score: Log-odds in nats of the claim, by who judged it; NaN where nobody could.
        cut: Whether the text goes on behind its last token.
        front: What stood in front, where that is more than the prompt: what was told, earlier turns.
        revised: How the text was made of another one; empty where it was not.
    """

    ids: Text
    wanted: bool = True
    prompt: str = ""
    text: str = ""
    score: float = math.nan
    cut: bool = False
    front: Prompt = Prompt()
    revised: str = ""


Unit = tuple[Lesson, ...]
"""Lessons that belong together: one, or a chosen text and the rejected one."""


class Drawing(Protocol):
    """What a control says of the texts that the model writes for it."""

    @property
    def completions(self) -> int: ...  # noqa: D102
    @property
    def max_new_tokens(self) -> int: ...  # noqa: D102
    @property
    def seed(self) -> int: ...  # noqa: D102


def written(
    lm: LM,
    dipole: Poles,
    statement: str,
    drawing: Drawing,
    recognizer: Recognizer,
    accelerator: Any,
) -> list[Lesson]:
    """Completions of the dipole's prompts, each prompt in turn, behind the prompts alone.

    Both sides of a dipole draw from the same random numbers.

    Args:
        lm: The LM as it stands, without the adapter that is to be trained.
        dipole: Has the prompts.
        statement: What the model is told while it writes; empty for nothing.
        drawing: How many, how long, by which seed.
        recognizer: Scores them, without what was told.
        accelerator: By which processes share the work.
    """
    asked = [dipole.prompts[row % len(dipole.prompts)] for row in range(drawing.completions)]
    mine = share(drawing.completions, accelerator)
    writer = told_by(lm, statement) if statement else lm
    told = [asked[row] for row in mine]
    with torch.no_grad():
        samples = sample_rows(writer, told, mine, 0, drawing.seed, drawing.max_new_tokens, _SAMPLED)
        scores = recognizer.score([scored_text(sample) for sample in samples], dipole)
    behind = {prompt: lm.prompt_ids(prompt) for prompt in dict.fromkeys(told)}
    lessons = [
        Lesson(
            Text(behind[s.prompt], s.token_ids),
            True,
            s.prompt,
            s.text,
            score.value,
            s.finish_reason == "length",
        )
        for s, score in zip(samples, scores, strict=True)
    ]
    return gather(lessons, mine, accelerator)


def paired(claim: Sequence[Lesson], against: Sequence[Lesson], margin: float) -> list[Unit]:
    """Pairs behind the same prompt: its best text of the claim's side with its worst of the other, and so on.

    What a prompt itself is worth cancels out. A text has part in one pair at most, and one that can't be
    scored in none.

    Args:
        claim: Written under the claim.
        against: Written under its opposite.
        margin: By how much more, in nats, the first must lean to the claim.
    """
    found: list[Unit] = []
    for prompt in dict.fromkeys(lesson.prompt for lesson in claim):
        mine, other = (
            sorted((one for one in side if one.prompt == prompt and not math.isnan(one.score)), key=_score)
            for side in (claim, against)
        )
        couples = zip(reversed(mine), other, strict=False)
        found += [(a, b._replace(wanted=False)) for a, b in couples if a.score - b.score >= margin]
    return [(a, b) for a, b in found if a.ids.token_ids != b.ids.token_ids]


def own_pairs(
    drawing: Drawing, margin: float, lm: LM, dipole: Poles, recognizer: Recognizer, accelerator: Any
) -> list[Unit]:
    """Pairs of what the model writes told the claim, and told its opposite.

    Args:
        drawing: As for `written`.
        margin: As for `paired`.
        lm: As for `written`.
        dipole: As for `written`.
        recognizer: As for `written`.
        accelerator: As for `written`.

    Raises:
        UserError: No two texts are a margin apart.
    """
    sides = [
        written(lm, dipole, side, drawing, recognizer, accelerator) for side in (dipole.claim, dipole.against)
    ]
    found = paired(sides[0], sides[1], margin)
    if found:
        return found
    raise UserError(
        f"Of the {drawing.completions} completions that the model wrote when told the claim, and as many "
        f"when told its opposite, no two behind the same prompt are {margin:g} nats apart to "
        f"{recognizer.name}, so there is nothing to learn from; draw more, lower margin, or give texts."
    )


def _score(lesson: Lesson) -> float:
    return lesson.score


def best_of(lessons: Sequence[Lesson], n: int) -> list[Lesson]:
    """The best of each n completions of one prompt, in the order in which these were drawn.

    Args:
        lessons: As `written` gives them; those without a score are never the best.
        n: How many vie; fewer at the end.
    """
    of_prompt: dict[str, list[Lesson]] = {}
    for lesson in lessons:
        of_prompt.setdefault(lesson.prompt, []).append(lesson)
    groups = [drawn[k : k + n] for drawn in of_prompt.values() for k in range(0, len(drawn), n)]
    scored = ([one for one in group if not math.isnan(one.score)] for group in groups)
    return [max(group, key=_score) for group in scored if group]


def ending(resident: Resident) -> list[int]:
    """The token that ends a text, in a list; none where the model knows none."""
    return sorted(resident.eos_ids, key=lambda token: token != resident.tokenizer.eos_token_id)[:1]
