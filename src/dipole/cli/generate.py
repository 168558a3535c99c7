"""`dipole generate`: completions of prompts, with interventions at any strength."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dipole.cli._console import emit, emit_json, flag
from dipole.cli._flags import Count, require_number
from dipole.cli._groups import EngagedSource
from dipole.cli._streams import flush_output
from dipole.cli._texts import batches_from

if TYPE_CHECKING:
    from dipole.protocols import LM
    from dipole.types import Sample


@dataclass(frozen=True, kw_only=True)
class Generate:
    """Complete prompts; without --json the prompt is printed in front of each completion.

    Attributes:
        prompts: Prompts; `-` reads them from standard input, one a line.
        intervention: What to engage; strength 0 is the base, 1 as fitted, -1 the other way. May be repeated.
        n: Completions a prompt.
        seed: The same seed gives the same completions.
        max_new_tokens: Token budget of a completion.
        temperature: 0 takes the likeliest token.
        top_k: Draw from the k likeliest tokens; 0 from all.
        top_p: Draw from the likeliest tokens of this probability.
        batch_size: Rows a forward.
        json: Print JSON, one object a line.
    """

    prompts: Annotated[list[str], typer.Argument(metavar="PROMPT…")]
    intervention: Annotated[list[str] | None, typer.Option(metavar="FOLDER[:STRENGTH]")] = None
    source: EngagedSource
    n: Count = 1
    seed: int = 0
    max_new_tokens: Count = 32
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    batch_size: Count = 64
    json: bool = False

    def run(self) -> None:
        """Complete and print, batch by batch."""
        for name in ("seed", "temperature", "top_k", "top_p"):
            require_number(flag(name), getattr(self, name))
        batches = batches_from(self.prompts)
        from dipole.cli._named import engaged_lm
        from dipole.decoding.distribution import Decoding

        decoding = Decoding(self.temperature, self.top_k, self.top_p)
        lm = engaged_lm(self.intervention or (), self.source)
        done, apart, first = 0, "", True
        for texts in batches:
            samples = lm.generate(
                texts, self.n, self.max_new_tokens, self.seed, decoding, self.batch_size, first=done
            )
            done += len(texts)
            apart = apart or ("\n" if any("\n" in sample.full_text for sample in samples) else "")
            for sample in samples:
                if self.json:
                    emit_json(_record(lm, sample))
                else:
                    emit(("" if first else apart) + sample.full_text)
                first = False
            flush_output()  # who reads sees each batch when it is done


def _record(lm: LM, sample: Sample) -> dict[str, Any]:
    """A completion; what an LM quotes has an entry `segments`, each part with its source."""
    from dipole.interventions.tokens import quoted

    record = {name: getattr(sample, name) for name in ("prompt", "text", "seed", "finish_reason")}
    parts = quoted(lm, sample)
    return record if parts is None else record | {"segments": [asdict(part) for part in parts]}
