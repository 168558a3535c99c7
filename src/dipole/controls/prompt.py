"""Prompting: a directive and few-shot examples made from a dipole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from dipole.controls._concept import require_dipole
from dipole.controls._dial import Measured
from dipole.controls.selection import judges_of, select, split_prompts
from dipole.interventions.prompt import Prefix
from dipole.protocols import JudgedBy, Poles
from dipole.registry import make_recognizer
from dipole.types import Surface, UserError, scored_text

if TYPE_CHECKING:
    from dipole.protocols import LM, Run

Examples = tuple[tuple[str, str], ...]
_PLAIN = "{pole}"
_INSTRUCTION = "You hold this view, and everything you write agrees with it: {pole}"


@dataclass(frozen=True)
class Prompt(Measured):
    """Put the claim, and examples of what is meant, in front of the user's text.

    The examples are the model's own continuations under the directive, those that the recognizer scores
    highest. How many of them stand in front is chosen on prompts that none of them was written for.

    Attributes:
        template: The directive, `{pole}` standing for the statement; by default the bare statement, or a
            sentence that states it as a view where the model reads chats.
        shots: Numbers of examples to try, comma separated; 0 is the directive alone.
        candidates: Continuations drawn for each prompt, of which the examples are chosen.
        recognizer: Who scores them.
        n: Continuations to measure each number of examples by.
    """

    template: str = ""
    shots: str = "0,1,2,4"
    candidates: int = 4
    recognizer: str = "velma"

    name: ClassVar[str] = "prompt"
    surface: ClassVar[Surface] = "prompt"
    makes: ClassVar[type[Prefix]] = Prefix
    graded: ClassVar[bool] = False
    paper: ClassVar[str] = "Brown 2020, arXiv:2005.14165"
    counts: ClassVar[tuple[str, ...]] = ("candidates",)

    def __post_init__(self) -> None:
        """Refuse what means nothing."""
        super().__post_init__()
        if self.template and "{pole}" not in self.template:
            raise UserError(
                f"template must hold {{pole}}, where the statement goes, and is {self.template!r}; write "
                "for example 'I believe this: {pole}'."
            )
        self.numbers()

    def numbers(self) -> list[int]:
        """The numbers of examples to try.

        Raises:
            UserError: They are not whole numbers of 0 or more.
        """
        try:
            found = sorted({int(part) for part in self.shots.split(",")})
        except ValueError:
            found = [-1]
        if found[0] < 0:
            raise UserError(f"shots must be whole numbers such as 0,2,4, and is {self.shots!r}.")
        return found

    @property
    def judged_by(self) -> JudgedBy:
        """The recognizer picks the examples; VELMA how many of them."""
        return JudgedBy((self.recognizer,), ("velma",))

    def fit(self, lm: LM, concept: Any, run: Run | None = None) -> Prefix:
        """The prefix whose number of examples does best on the prompts for choosing.

        Raises:
            UserError: The concept is no dipole, or has no prompts, or the chat template can't carry it.
        """
        dipole = require_dipole(self, concept)
        prompts, choosing = split_prompts(dipole)
        pairs: dict[int, tuple[Examples, Examples]] = {0: ((), ())}
        most = max(self.numbers())
        if most:
            shown, opposite = (self._examples(lm, side, prompts) for side in (dipole, dipole.swapped()))
            found = {min(k, len(shown)) for k in self.numbers()}
            pairs = {k: (shown[:k], opposite[:k]) for k in sorted(found)}
        made = [self._prefix(lm, dipole, *pair) for pair in pairs.values()]
        fitting = [p for p in made if _fits(p.apply(lm), choosing, self.max_new_tokens)]
        if not fitting:
            raise UserError(
                "No directive with examples leaves room in the context; ask for fewer with shots=…."
            )
        tried = [({"shots": len(p.examples)}, float(len(p.examples)), p.apply) for p in fitting]
        chosen = select(lm, dipole, tried, choosing, self.n, self.max_new_tokens, seed=self.seed)
        best = next(p for p in fitting if len(p.examples) == chosen.best.candidate["shots"])
        note = best.note(lm.resident)
        facts = {
            "judged_by": JudgedBy((self.recognizer,), judges_of(dipole).chosen)._asdict(),
            "selection": chosen.to_dict(),
            **({"notes": [note]} if note else {}),
        }
        return self._prefix(lm, dipole, best.examples, best.opposite_examples, facts)

    def _prefix(
        self,
        lm: LM,
        dipole: Poles,
        examples: Examples,
        opposite: Examples,
        facts: Mapping[str, Any] | None = None,
    ) -> Prefix:
        template = self.template or (_INSTRUCTION if lm.resident.chat else _PLAIN)
        told, untold = (template.replace("{pole}", pole) for pole in (dipole.claim, dipole.against))
        return Prefix(told, examples, untold, opposite, facts or {})

    def _examples(self, lm: LM, dipole: Poles, prompts: Sequence[str]) -> Examples:
        """The model's best continuations under the directive, at most one a prompt, best first."""
        told = self._prefix(lm, dipole, (), ()).apply(lm)
        drawn = told.generate(prompts, self.candidates, self.max_new_tokens, self.seed)
        judge = make_recognizer(self.recognizer, lm.base)
        scores = judge.score([scored_text(s) for s in drawn], dipole)
        best: dict[str, tuple[float, str]] = {}
        for sample, score in zip(drawn, scores, strict=True):
            # One that ran out of tokens breaks off in the middle of a sentence.
            if score.is_scored and sample.finish_reason == "eos" and sample.text.strip():
                found = (score.value, sample.text)
                best[sample.prompt] = max(best.get(sample.prompt, found), found)
        order = sorted(best, key=lambda prompt: best[prompt], reverse=True)
        return tuple((prompt, best[prompt][1]) for prompt in order)


def _fits(lm: LM, prompts: Sequence[str], max_new_tokens: int) -> bool:
    limit = lm.resident.context_length
    return limit is None or all(len(lm.prompt_ids(p)) + max_new_tokens <= limit for p in prompts)
