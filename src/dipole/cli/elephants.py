"""`dipole elephants`: how often a model names what it is told not to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import typer

from dipole.cli._concept import concept_from, ready_arsenal
from dipole.cli._flags import Count, require_number
from dipole.cli._groups import EngagedSource, Output, Wanted


@dataclass(frozen=True, kw_only=True)
class Elephants:
    """Measure how often a model names what it is told not to, with an intervention and without.

    Told nothing, told "Speak of A. Never mention B.", told so of other things, and told the reverse: how
    often are B, A, and neither of them named?

    Attributes:
        intervention: What is engaged on the model. May be repeated.
        topics: An arsenal whose last topics are measured in place of the dipole.
        spare: How many of them; those that `dipole fit dpf` with the same flags did not learn.
        instruction: What the model is told, with {avoid} and {instead}. [default: the concept's]
        n: Texts a condition.
        max_new_tokens: Token budget of a text.
        seed: The same seed gives the same texts.
        out: Folder for every number.
    """

    wanted: Wanted
    intervention: Annotated[list[str], typer.Option(metavar="FOLDER[:STRENGTH]")]
    topics: str = ""
    spare: Count = 4
    instruction: str = ""
    n: Count = 96
    max_new_tokens: Count = 28
    seed: int = 0
    out: str | None = None
    source: EngagedSource
    output: Output

    def run(self) -> None:
        """Measure, keep and print."""
        require_number("--seed", self.seed)
        folder = None if self.out is None else self.output.folder(self.out, self.intervention)
        concept = concept_from(self.wanted, self.source.name(), ("dipole", "avoid"))
        from dipole.cli._named import engaged_lm
        from dipole.concepts import Avoid
        from dipole.controls.weights.dpf import topics_of
        from dipole.evaluation.elephants import elephants

        first = Avoid.of(concept, self.instruction)
        concepts: list[Any] = topics_of(self.topics, first)[-self.spare :] if self.topics else [first]
        lm = engaged_lm(self.intervention, self.source)
        ready = topics_of(ready_arsenal(lm.resident.name), first)
        stranger = next(one for one in ready if one.avoid not in {c.avoid for c in concepts})
        with self.output.working(folder) as (show, keep):
            found = elephants(
                lm.base, lm, concepts, stranger, self.n, self.max_new_tokens, self.seed, progress=show
            )
            keep(found)
        self.output.show(found, found.to_dict())
        if folder is not None:
            self.output.say(f"every number is in {folder / 'elephants.json'}")
