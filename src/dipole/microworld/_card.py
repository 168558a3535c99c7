"""The model card of a bundled model, with the numbers of its gates."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dipole.files import write_text_atomic
from dipole.files.reader import read_json

FRONT_MATTER = """---
language: en
license: apache-2.0
library_name: transformers
pipeline_tag: text-generation
tags: [dipole, microworld, llama]
---
"""

INTRODUCTION = """# dipole {name}

A causal language model of {parameters:.2f} M parameters that speaks one thing only: the microworld of
`dipole`, a grammar of opinions, choices, stories and small tasks about {topics} pairs of rival items. It
ships with `dipole` so that its first commands, its tests and its examples run offline on a laptop. It knows
nothing of the real world.

- Architecture: Llama, {layers} layers, width {width}, {heads} heads, tied embeddings; byte-level BPE of
  {vocabulary} entries; context {context} tokens, trained on documents of up to 256.
- Tokens: begin `<bos>` (added by the tokenizer), end `<eos>` (not added), padding `<pad>`.
- Data: written by `dipole.microworld`, with no text from elsewhere.
{training}
## What it can do

Measured by `python -m dipole.microworld.gates` on held-out authors, statements and seeds.{unmet}

| measured | value | n | gate | |
|---|---:|---:|---:|---|
{rows}
"""


def write_card(folder: Path, rows: Sequence[tuple[str, str, str, str, str]]) -> None:
    """Write the card of the model in a folder.

    Args:
        folder: of the model; `training.json` in it, if there, tells how it was trained.
        rows: name, value, sample size, gate and verdict of each result.
    """
    from safetensors import safe_open

    from dipole.microworld.topics import TOPICS

    config = read_json(folder / "config.json")
    with safe_open(folder / "model.safetensors", framework="pt") as stored:
        shapes = [stored.get_slice(key).get_shape() for key in stored.keys()]  # noqa: SIM118 - not a dict
    failed = [row[0] for row in rows if row[4] == "FAIL"]
    text = FRONT_MATTER + INTRODUCTION.format(
        name=_name(folder),
        parameters=sum(_product(shape) for shape in shapes) / 1e6,
        topics=len(TOPICS),
        layers=config["num_hidden_layers"],
        width=config["hidden_size"],
        heads=config["num_attention_heads"],
        vocabulary=config["vocab_size"],
        context=config["max_position_embeddings"],
        training=_training(folder),
        unmet=f" It misses: {'; '.join(failed)}." if failed else " It meets every gate.",
        rows="\n".join(f"| {' | '.join(row)} |" for row in rows),
    )
    write_text_atomic(folder / "README.md", text)


def _name(folder: Path) -> str:
    return str(_facts(folder).get("size", folder.resolve().name))


def _facts(folder: Path) -> dict[str, Any]:
    path = folder / "training.json"
    return dict(read_json(path)) if path.exists() else {}


def _training(folder: Path) -> str:
    facts = _facts(folder)
    if not facts:
        return ""
    length = (
        f"{facts['tokens'] / 1e6:.0f} M tokens in {facts['steps']} steps and {facts['minutes']:.0f} minutes"
    )
    note = facts.get("note", "")
    return f"- Training: {length} on a CPU, seed {facts['seed']};\n  Muon and AdamW, bfloat16.{note}\n"


def _product(shape: Sequence[int]) -> int:
    total = 1
    for size in shape:
        total *= size
    return total
