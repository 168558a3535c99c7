"""Direct principle feedback: preferences between the model's answers and their revisions, learned by DPO."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from dipole.concepts import Avoid, load_arsenal
from dipole.controls.weights.dpo import Preferring
from dipole.controls.weights.elephants import WAYS, Revised, answers, contexts_of, revise
from dipole.controls.weights.lessons import Lesson, Unit, ending
from dipole.controls.weights.revisions import LeftOut
from dipole.controls.weights.rollout import Text
from dipole.controls.weights.settings import require
from dipole.corpora.preferences import Prompt
from dipole.protocols import LM, Poles, Recognizer
from dipole.types import Score, UserError


@dataclass(frozen=True, kw_only=True)
class DPF(Preferring):
    """Learn to name one thing and not another when told so: the model's answers against their revisions.

    The model is told "Speak of A. Never mention B." and answers prompts that bring B up. Answers that name B
    are revised; the revision is preferred over the answer (DPO), behind the instruction and the prompt. What
    is learned is to follow the instruction, so the same is done the other way round, and for the topics of
    an arsenal. A pair is kept where the answer names B, the revision does not, and the two are near.

    Departures from Castricato et al. 2024:

    1. The resident model writes answers, critiques and revisions, on given prompts or on questions of a few
       forms; the paper has a larger model write dialogues on 2,500 pairs of things.
    2. What can't rewrite takes its own nearest answer behind the same prompt that names A and not B, or has
       the name replaced.
    3. The thresholds are ours, since the paper does not say its own.

    Attributes:
        topics: An arsenal, ready or a file, whose pairs of things are learned too.
        spare: How many of its last topics are left out, to measure on.
        both: Learn the instruction the other way round too; else the model may learn never to name B.
        instruction: What the model is told, `{avoid}` and `{instead}` standing for the two; by default the
            concept's, or "Speak of {instead}. Never mention {avoid}."
        revise: Ways to revise, in the order in which they are tried, comma separated: model (critique and
            revision by the model), nearest (its own nearest answer that obeys), swap (the name replaced);
            auto is all three where the model chats, and the last two where it does not.
        per_context: Answers drawn behind one prompt.
        dialogue: Turns of a dialogue before the last question, from 0 to 3, where the model chats.
        low: Least edit similarity of words between answer and revision.
        high: Most.
        cosine: Least cosine between the counts of their words.
        completions: Answers the model writes, over all prompts.
        recognizer: Whose scores the derived rows show; the words that are named, and nobody else, pick them.
    """

    topics: str = ""
    spare: int = 0
    both: bool = True
    instruction: str = ""
    revise: str = "auto"
    per_context: int = 8
    dialogue: int = 0
    low: float = 0.3
    high: float = 0.98
    cosine: float = 0.3
    completions: int = 512
    recognizer: str = "mentions"

    name: ClassVar[str] = "dpf"
    takes: ClassVar[tuple[str, ...]] = ("dipole", "avoid")
    paper: ClassVar[str] = "Castricato 2024, arXiv:2402.07896"

    def __post_init__(self) -> None:
        """Refuse hyper-parameters that mean nothing."""
        super().__post_init__()
        require(self, "at least 1", lambda v: v >= 1, "per_context")
        require(self, "0 or more", lambda v: v >= 0, "spare")
        require(self, "from 0 to 3", lambda v: 0 <= v <= 3, "dialogue")
        require(self, "from 0 to 1", lambda v: 0 <= v <= 1, "low", "high", "cosine")
        if self.spare and not self.topics:
            raise UserError("spare leaves out topics of an arsenal, and there is none; give topics too.")
        if self.instruction and "{avoid}" not in self.instruction:
            raise UserError(
                f"instruction must hold {{avoid}}, where the name of what to avoid goes, and is "
                f"{self.instruction!r}."
            )
        self.ways(False)

    def ways(self, chat: bool) -> tuple[str, ...]:
        """Ways to revise, in order.

        Raises:
            UserError: There is none of that name.
        """
        if self.revise == "auto":
            return WAYS if chat else WAYS[1:]
        found = tuple(part.strip() for part in self.revise.split(","))
        if wrong := [way for way in found if way not in WAYS]:
            raise UserError(f"revise must be auto, or some of {', '.join(WAYS)}, and has {wrong[0]!r}.")
        return found

    def avoids(self, concept: Any) -> list[Avoid]:
        """What is to be avoided in turn: the concept's, the arsenal's but for those spared, each both ways.

        Raises:
            UserError: The concept names no two sides, or the arsenal has nothing left.
        """
        first = Avoid.of(concept, self.instruction)
        found = [first]
        if self.topics:
            others = topics_of(self.topics, first)
            found += others[: max(0, len(others) - self.spare)]
        return [one for avoid in found for one in ((avoid, avoid.swapped()) if self.both else (avoid,))]

    def own(self, lm: LM, dipole: Poles, recognizer: Recognizer, accelerator: Any) -> list[Unit]:
        """Revisions and answers."""
        return self.derived(lm, dipole, recognizer, accelerator)[0]

    def derived(
        self, lm: LM, dipole: Poles, recognizer: Recognizer, accelerator: Any
    ) -> tuple[list[Unit], list[dict[str, Any]]]:
        """Revisions and answers, and the pairs that are left out.

        Raises:
            UserError: No pair is left, with the reasons; or the model does not chat and should revise.
        """
        ways = self.ways(lm.resident.chat)
        if "model" in ways and not lm.resident.chat:
            raise UserError(
                f"{lm.resident.name} is read without a chat template, so it can't be asked to revise; leave "
                "`model` out of revise."
            )
        contexts = contexts_of(lm, self.avoids(dipole), self)
        drawn = answers(lm, contexts, self, accelerator)
        revised, left = revise(lm, contexts, drawn, ways, self)
        if not revised:
            raise UserError(
                f"Of {sum(map(len, drawn))} answers none makes a pair to learn from ({reasons(left)}); "
                "draw more, loosen low, high or cosine, or give pairs."
            )
        units = [self._unit(one, lm, recognizer) for one in revised]
        return units, [one._asdict() for one in left]

    def _unit(self, one: Revised, lm: LM, recognizer: Recognizer) -> Unit:
        front, original = one.context.front(lm.resident.chat), one.original
        scores: list[Score] = recognizer.score([one.text, original.text], one.context.avoid)
        ids = one.ids
        if ids is None:
            ids = (*lm.resident.continuation_ids(one.text), *(() if one.cut else ending(lm.resident)))
        prompt = _prompt_ids(front, lm)
        return (
            Lesson(
                Text(prompt, ids), True, front.text, one.text, scores[0].value, one.cut, front, one.by
            ),
            Lesson(
                Text(prompt, original.token_ids), False, front.text, original.text, scores[1].value,
                original.finish_reason == "length", front,
            ),
        )  # fmt: skip

    def row(self, unit: Unit) -> dict[str, Any]:
        """A pair in trl's format, as messages where the model chats; `revised` says how it was made."""
        row, front = super().row(unit), unit[0].front
        if front.chat:
            row["prompt"] = messages(front)
            for side in ("chosen", "rejected"):
                row[side] = [{"role": "assistant", "content": row[side]}]
        return {**row, "revised": unit[0].revised}


def topics_of(arsenal: str, first: Avoid) -> list[Avoid]:
    """The pairs of things of an arsenal, told as the first is; those that share a name with it are left out.

    Raises:
        UserError: There is no such arsenal.
    """
    names = {*first.mentions.claim, *first.mentions.against}
    found = []
    for dipole in load_arsenal(arsenal):
        if dipole.mentions.claim and dipole.mentions.against:
            other = Avoid.of(dipole, first.instruction)
            if not any(any(other.named(name)) for name in names):
                found.append(other)
    return found


def reasons(left: Sequence[LeftOut]) -> str:
    """How many pairs were left out for which reason."""
    counts = Counter(one.reason for one in left)
    return "; ".join(f"{count} × {reason}" for reason, count in counts.most_common())


def messages(front: Prompt) -> list[dict[str, str]]:
    """A prompt as messages of a conversation."""
    told = [("system", front.told)] if front.told else []
    before = [turn for said, answer in front.turns for turn in (("user", said), ("assistant", answer))]
    return [{"role": r, "content": c} for r, c in (*told, *before, ("user", front.text))]


def _prompt_ids(front: Prompt, lm: LM) -> list[int]:
    if front.chat:
        return lm.resident.prompt_ids([(front.told, front.turns)], front.text)
    return lm.prompt_ids(front.text)
