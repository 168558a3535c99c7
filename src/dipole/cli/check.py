"""`dipole check`: whether there is anything to steer by, before anything is fitted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from dipole.cli._concept import dipole_from
from dipole.cli._flags import Count, require_number
from dipole.cli._groups import Output, Source, Wanted
from dipole.cli._job import Words
from dipole.concepts import Mentions
from dipole.registry import RECOGNIZERS, resolve


@dataclass(frozen=True, kw_only=True)
class Check:
    """Measure on the model itself whether there is anything to steer by, in seconds; nothing is fitted.

    Do recognizers tell the sides apart in what the model writes when told each? How far do they lean by
    themselves? Do the prompts force the choice?

    Attributes:
        mention_claim: A word of the claim's side. May be repeated.
        mention_against: A word of the other side. May be repeated.
        recognizer: Who is tried. May be repeated. [default: stance, velma and, where installed, embedding]
        n: Completions told nothing, over all prompts.
        told: Completions told the claim, and as many told its opposite.
        max_new_tokens: Token budget of a completion.
        seed: The same seed gives the same completions.
        out: Folder for every number.
    """

    wanted: Wanted
    mention_claim: Words = None
    mention_against: Words = None
    recognizer: Annotated[list[str] | None, typer.Option(metavar="NAME")] = None
    n: Count = 48
    told: Count = 16
    max_new_tokens: Count = 20
    seed: int = 0
    out: str | None = None
    source: Source
    output: Output

    def run(self) -> None:
        """Measure, keep and print."""
        require_number("--seed", self.seed)
        folder = None if self.out is None else self.output.folder(self.out)
        for name in self.recognizer or ():
            resolve(RECOGNIZERS, name)
        words = Mentions(tuple(self.mention_claim or ()), tuple(self.mention_against or ()))
        dipole = dipole_from(self.wanted, self.source.name(), words or None)
        from dipole.evaluation.check import check

        lm = self.source.load()
        with self.output.working(folder) as (show, keep):
            found = check(
                lm, dipole, self.recognizer, n=self.n, told=self.told, max_new_tokens=self.max_new_tokens,
                seed=self.seed, progress=show,
            )  # fmt: skip
            keep(found)
        self.output.show(found, found.to_dict())
        if folder is not None:
            self.output.say(f"every number is in {folder / 'check.json'}")
