"""`dipole score`: how far texts lean towards a claim."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from dipole.cli._console import emit, emit_json, tell
from dipole.cli._groups import Poles, Source
from dipole.cli._named import recognizer_from
from dipole.cli._progress import progress
from dipole.cli._streams import flush_output
from dipole.cli._texts import batches_from

if TYPE_CHECKING:
    from dipole.recognizers.score import Scored


@dataclass(frozen=True, kw_only=True)
class Judge(Source):
    """The model that a recognizer reads with.

    Attributes:
        model: The LM that reads (stance, velma): as for `generate`. [default: tiny]
    """

    model: Annotated[str | None, typer.Option("--model", "--judge")] = None


@dataclass(frozen=True, kw_only=True)
class Score:
    """Score texts: log-odds in nats, positive towards the claim (or topic), and the probability they mean.

    Attributes:
        texts: Texts; `-` reads them from standard input, one a line.
        claim: The statement.
        against: Its opposite.
        dipole: A dipole file (TOML; FILE:NAME of several), or a ready one by name; see `dipole dipoles`.
        recognizer: velma, stance, embedding or nli; or a fitted one's folder, as topics:3, without a claim.
        prior_correction: Subtract what the statements score after nothing (velma).
        json: Print JSON, one object a line.
    """

    texts: Annotated[list[str], typer.Argument(metavar="TEXT…")]
    claim: str | None = None
    against: str | None = None
    dipole: str | None = None
    recognizer: str = "velma"
    source: Judge
    prior_correction: bool = False
    json: bool = False

    def run(self) -> None:
        """Score and print, batch by batch."""
        from dipole.recognizers.score import HEADER, score

        batches = batches_from(self.texts)
        poles = Poles(dipole=self.dipole, claim=self.claim, against=self.against)
        made, dipole = recognizer_from(self.recognizer, self.source, self.prior_correction, poles)
        if not self.json and sys.stdout.isatty():
            emit(HEADER)
        done = 0
        with progress(quiet=sys.stdout.isatty() or not sys.stderr.isatty()) as show:
            for batch in batches:
                found = score(batch, dipole, made)
                if self.json:
                    for row in found.to_dicts():
                        emit_json(row)
                else:
                    _print(found, done)
                flush_output()  # who reads sees each batch when it is done
                done += len(batch)
                show("scoring", note=f"{done:,} texts")


def _print(found: Scored, before: int) -> None:
    for number, (line, each) in enumerate(zip(found.lines(), found.scores, strict=True), before + 1):
        emit(line)
        if each.reason:
            tell(f"dipole: warning: text {number}: {each.reason}")
