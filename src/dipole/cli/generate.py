"""`dipole generate`: completions of prompts, with interventions at any strength."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dipole.cli._console import emit, emit_json, flag
from dipole.cli._conversation import converse, require_chat
from dipole.cli._flags import Count, require_number
from dipole.cli._groups import EngagedSource
from dipole.cli._streams import flush_output
from dipole.cli._texts import batches_from, input_lines
from dipole.types import UserError

if TYPE_CHECKING:
    from dipole.protocols import LM
    from dipole.types import Sample


_SHORT, _LONG = 32, 256  # tokens of a completion, and of a reply in a conversation


@dataclass(frozen=True, kw_only=True)
class Generate:
    """Complete prompts; without --json the prompt is printed in front of each completion.

    Attributes:
        prompts: Prompts; `-` reads them from standard input, one a line.
        chat: Hold a conversation: prompts, then lines of standard input, are what the user says in turn; only
            replies are printed. `/reset` forgets what was said, `/quit` ends.
        intervention: What to engage; strength 0 is the base, 1 as fitted, -1 the other way. May be repeated.
        n: Completions a prompt.
        seed: The same seed gives the same completions.
        max_new_tokens: Token budget of a completion. [default: 32, or 256 in a conversation]
        temperature: 0 takes the likeliest token.
        top_k: Draw from the k likeliest tokens; 0 from all.
        top_p: Draw from the likeliest tokens of this probability.
        batch_size: Rows a forward.
        json: Print JSON, one object a line.
    """

    prompts: Annotated[list[str] | None, typer.Argument(metavar="PROMPT…")] = None
    intervention: Annotated[list[str] | None, typer.Option(metavar="FOLDER[:STRENGTH]")] = None
    source: EngagedSource
    chat: bool = False
    n: Count = 1
    seed: int = 0
    max_new_tokens: Annotated[int | None, typer.Option(min=1)] = None
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    batch_size: Count = 64
    json: bool = False

    def run(self) -> None:
        """Complete and print, batch by batch."""
        for name in ("seed", "temperature", "top_k", "top_p"):
            require_number(flag(name), getattr(self, name))
        batches = self._batches()
        from dipole.cli._named import engaged_lm

        lm = engaged_lm(self.intervention or (), self.source)
        if self.chat:
            require_chat(lm)
            lines = (text for texts in batches for text in texts)
            return converse(lm, lines, self._answer, self._show, self._budget)
        done, apart, first = 0, "", True
        for texts in batches:
            samples = self._written(lm, texts, done)
            done += len(texts)
            apart = apart or ("\n" if any("\n" in sample.full_text for sample in samples) else "")
            for sample in samples:
                if self.json:
                    emit_json(_record(lm, sample))
                else:
                    emit(("" if first else apart) + sample.full_text)
                first = False
            flush_output()  # who reads sees each batch when it is done
        return None

    @property
    def _budget(self) -> int:
        return self.max_new_tokens or (_LONG if self.chat else _SHORT)

    def _batches(self) -> Iterator[list[str]]:
        """What is to be completed, or said; refused at once where that means nothing.

        Raises:
            UserError: There is nothing, or several replies are asked for in a conversation.
        """
        if self.chat and self.n != 1:
            raise UserError("A conversation goes on from one reply; leave out -n, or --chat.")
        if self.chat:
            said = self.prompts or []
            if "-" in said:
                raise UserError("With --chat standard input is read anyway; leave out `-`.")
            return chain(batches_from(said), ([line] for line in input_lines()))
        if not self.prompts:
            raise UserError("There is nothing to complete: give a prompt, `-` for standard input, or --chat.")
        return batches_from(self.prompts)

    def _written(self, lm: LM, texts: Sequence[str], first: int) -> list[Sample]:
        from dipole.decoding.distribution import Decoding

        decoding = Decoding(self.temperature, self.top_k, self.top_p)
        return lm.generate(texts, self.n, self._budget, self.seed, decoding, self.batch_size, first=first)

    def _answer(self, lm: LM, line: str, number: int) -> Sample:
        return self._written(lm, [line], number)[0]

    def _show(self, lm: LM, sample: Sample) -> None:
        if self.json:
            emit_json(_record(lm, sample))
        else:
            emit(sample.text)


def _record(lm: LM, sample: Sample) -> dict[str, Any]:
    """A completion; what an LM quotes has an entry `segments`, each part with its source."""
    from dipole.interventions.tokens import quoted

    record = {name: getattr(sample, name) for name in ("prompt", "text", "seed", "finish_reason")}
    parts = quoted(lm, sample)
    return record if parts is None else record | {"segments": [asdict(part) for part in parts]}
