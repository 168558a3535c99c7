"""The microworld's own truth about a completion, where the dipole and the LM belong to the microworld."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dipole.concepts import Dipole
from dipole.evaluation.meters.protocol import Meter, Quantity, Subject
from dipole.evaluation.meters.sides import Side, shares
from dipole.types import Sample


def meters(subject: Subject) -> list[Meter]:
    """Sides and grammar as the microworld's judge reads them; nothing where it can't be trusted."""
    truth = truth_for(subject.dipole)
    if truth is None or not speaks_the_world(truth, subject.samples):
        return []
    label = "sentences that the microworld can produce"
    return [
        *shares(truth.side, "truth_", "by the microworld's own truth"),
        Quantity("grammatical_share", label, "share", "none", lambda _, s: [truth.grammar(x) for x in s]),
    ]


@dataclass(frozen=True)
class Truth:
    """Reads the side of a completion with the judge of the microworld.

    Attributes:
        topic: Slug of the dipole's topic.
        sign: Stance of the claim: +1 where it favours the topic's first item.
        stance: From (text, topic) to +1, -1 or None.
        sentences: Cuts a text into sentences.
        grammatical: Whether the world can produce a sentence.
    """

    topic: str
    sign: int
    stance: Callable[[str, str], int | None]
    sentences: Callable[[str], list[str]]
    grammatical: Callable[[str], bool]

    def side(self, sample: Sample) -> Side | None:
        """The side that prompt and completion together take."""
        found = self.stance(sample.full_text, self.topic)
        if found is None:
            return None
        return "claim" if found == self.sign else "against"

    def grammar(self, sample: Sample) -> tuple[int, int]:
        """(grammatical, all) sentences of a sample; a last sentence that was cut off is left out."""
        found = self.sentences(sample.full_text)
        if sample.finish_reason == "length" and sample.full_text.rstrip()[-1:] not in (".", "!", "?"):
            found = found[:-1]
        return sum(self.grammatical(sentence) for sentence in found), len(found)


def truth_for(dipole: Dipole) -> Truth | None:
    """The judge for a dipole that sets the items of one microworld topic against each other; else None."""
    from dipole.microworld import judge
    from dipole.microworld.topics import TOPICS

    claim, against = (_flat(text) for text in (dipole.claim, dipole.against))
    for topic in TOPICS:
        stances = {
            _flat(topic.a.best): 1,
            _flat(topic.b.worst): 1,
            _flat(topic.b.best): -1,
            _flat(topic.a.worst): -1,
        }
        if claim in stances and stances.get(against) == -stances[claim]:
            return Truth(topic.name, stances[claim], judge.stance, judge.sentences, judge.is_grammatical)
    return None


def speaks_the_world(truth: Truth, samples: Sequence[Sample]) -> bool:
    """Whether most sentences of these samples are the microworld's own, so that its judge can be trusted.

    Another LM may be asked about paper clips too, and the judge would misread its English.
    """
    counts = [truth.grammar(sample) for sample in samples]
    total = sum(n for _, n in counts)
    return total > 0 and 2 * sum(g for g, _ in counts) > total


def _flat(text: str) -> str:
    return " ".join(text.casefold().split())
