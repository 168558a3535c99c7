"""Flags that several commands have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dipole.cli._noise import hide_progress_bars

if TYPE_CHECKING:
    from dipole.lm import LM

Model = Annotated[
    str | None,
    typer.Option("--model", help="A hub id, a local folder, or a bundled LM: tiny (the default), mini."),
]
Revision = Annotated[
    str | None, typer.Option("--revision", help="Branch, tag or commit of the model on the hub.")
]
Dtype = Annotated[
    str | None,
    typer.Option(
        "--dtype", help="auto, float32, bfloat16 or float16; auto is float32 on a CPU. [default: auto]"
    ),
]
Device = Annotated[
    str | None,
    typer.Option("--device", help="auto, cpu, cuda:1, …, or spread over all that there are. [default: auto]"),
]
Trust = Annotated[
    bool, typer.Option("--trust-remote-code", help="Run Python code that comes with the model.")
]
SpecialTokens = Annotated[
    bool | None,
    typer.Option(
        "--special-tokens", help="Read special tokens that texts spell (</s>) as such, not as text."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, one object a line.")]
DipoleFile = Annotated[
    str | None,
    typer.Option(
        "--dipole",
        help="A dipole file (TOML; FILE:NAME of several), or a ready one by name; see `dipole dipoles`.",
    ),
]

Claim = Annotated[str | None, typer.Option("--claim", help="The statement that is wanted.")]
Against = Annotated[str | None, typer.Option("--against", help="Its opposite.")]
Prompts = Annotated[
    list[str] | None, typer.Option("--prompt", metavar="TEXT", help="To fit on. May be repeated.")
]
HeldOut = Annotated[
    list[str] | None,
    typer.Option("--held-out", metavar="TEXT", help="A wording to measure on alone. May be repeated."),
]
CorpusPath = Annotated[
    str,
    typer.Option(
        "--corpus",
        help="Documents: a folder of .txt files, or a .txt, .jsonl, .csv or .tsv file; .gz may follow.",
    ),
]
Topic = Annotated[
    str, typer.Argument(metavar="TOPIC", help="A topic of a folder that `dipole topics` made, as topics:3.")
]
WordsPerDocument = Annotated[
    int | None,
    typer.Option("--words-per-document", help="Cut each document into passages of about so many words."),
]
Layers = Annotated[str, typer.Option("--layers", help="Layers to read, from 0 with commas, or auto.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what dipole made in the folder.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress on standard error.")]


def load_model(
    model: str | None,
    revision: str | None,
    dtype: str | None,
    device: str | None,
    trust: bool,
    special_tokens: bool | None = None,
) -> LM:
    """The model that the flags ask for."""
    from dipole.models import load

    hide_progress_bars()
    return load(
        "tiny" if model is None else model,
        "auto" if dtype is None else dtype,
        "auto" if device is None else device,
        revision,
        trust_remote_code=trust,
        special_tokens_in_text=bool(special_tokens),
    )


def source_of(flags: Mapping[str, Any]) -> tuple[Any, ...]:
    """What `load_model` takes, from the flags of a command."""
    return (flags["model"], flags["revision"], *where_of(flags))


def where_of(flags: Mapping[str, Any]) -> tuple[Any, ...]:
    """What `load_model` takes behind the model and its revision."""
    named = flags["dtype"], flags["device"], flags["trust_remote_code"]
    return (*named, flags.get("special_tokens"))  # a command that reads no text has no such flag
