"""`dipole generate`: completions of prompts, with interventions at any strength."""

from __future__ import annotations

from typing import Annotated

import typer

from dipole.cli._console import emit, emit_json
from dipole.cli._flags import Device, Dtype, Json, Revision, SpecialTokens, Trust
from dipole.cli._numbers import require_number
from dipole.cli._streams import flush_output
from dipole.cli._texts import batches_from


def generate(
    prompts: Annotated[
        list[str],
        typer.Argument(metavar="PROMPT…", help="Prompts; `-` reads them from standard input, one a line."),
    ],
    intervention: Annotated[
        list[str] | None,
        typer.Option(
            "--intervention",
            metavar="FOLDER[:STRENGTH]",
            help="What to engage; strength 0 is the base, 1 as fitted, -1 the other way. May be repeated.",
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            help="A hub id, a folder, tiny or mini. [default: what the intervention was made for, or tiny]",
        ),
    ] = None,
    revision: Revision = None,
    dtype: Dtype = None,
    device: Device = None,
    trust_remote_code: Trust = False,
    special_tokens: SpecialTokens = None,
    n: Annotated[int, typer.Option("-n", min=1, help="Completions a prompt.")] = 1,
    seed: Annotated[int, typer.Option("--seed", help="The same seed gives the same completions.")] = 0,
    max_new_tokens: Annotated[
        int, typer.Option("--max-new-tokens", min=1, help="Token budget of a completion.")
    ] = 32,
    temperature: Annotated[float, typer.Option("--temperature", help="0 takes the likeliest token.")] = 1.0,
    top_k: Annotated[int, typer.Option("--top-k", help="Draw from the k likeliest tokens; 0 from all.")] = 0,
    top_p: Annotated[
        float, typer.Option("--top-p", help="Draw from the likeliest tokens of this probability.")
    ] = 1.0,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Rows a forward.")] = 64,
    json: Json = False,
) -> None:
    """Complete prompts; without --json the prompt is printed in front of each completion."""
    source = dict(locals())
    for flag, value in {
        "--seed": seed,
        "--temperature": temperature,
        "--top-k": top_k,
        "--top-p": top_p,
    }.items():
        require_number(flag, value)
    batches = batches_from(prompts)
    from dipole.cli._attribution import segments_of
    from dipole.cli._interventions import engaged_lm
    from dipole.decoding.sampling import Decoding

    decoding = Decoding(temperature, top_k, top_p)
    lm = engaged_lm(intervention or (), source)
    done, apart, first = 0, "", True
    for texts in batches:
        samples = lm.generate(texts, n, max_new_tokens, seed, decoding, batch_size, first=done)
        done += len(texts)
        apart = apart or ("\n" if any("\n" in sample.full_text for sample in samples) else "")
        for sample in samples:
            if json:
                record = {"prompt": sample.prompt, "text": sample.text, "seed": sample.seed}
                emit_json(record | {"finish_reason": sample.finish_reason} | segments_of(lm, sample))
            else:
                emit(("" if first else apart) + sample.full_text)
            first = False
        flush_output()  # who reads sees each batch when it is done
