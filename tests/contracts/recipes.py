"""A cheap way to get one fitted artefact of everything in the registries, for the contract suites.

A new control or surface adds one entry here; the suites fail while it is missing.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig

from architectures import tiny_model
from dipole.concepts import Avoid, Dipole
from dipole.engaging.adapters import adapter_state, inject
from dipole.engaging.blocks import decoder_blocks
from dipole.engaging.operators import Operator
from dipole.engaging.stack import Tree
from dipole.interventions.activations import SteeringVector
from dipole.interventions.decode import BestOf
from dipole.interventions.experts import Experts, Source
from dipole.interventions.fudge import Fudge
from dipole.interventions.ilql import Ilql
from dipole.interventions.logits import Boost, Contrast, made_for
from dipole.interventions.pplm import Pplm
from dipole.interventions.prompt import Prefix
from dipole.interventions.tag import Tag
from dipole.interventions.tokens import Labels, Pool
from dipole.interventions.weights import Adapter
from dipole.lm import LM
from dipole.protocols import Intervention

DIPOLE = Dipole(
    "Paper clips are the best.",
    "Paper clips are the worst.",
    prompts=("If I had to choose between paper clips and staples,", "The cats"),
)

# What a model of random weights names: letters that stand alone.
LETTERS = Avoid("a", "n", tuple("bcdefghijklm"), tuple("opqrstuvwxyz"), "No {avoid}.", prompts=DIPOLE.prompts)


def concept_for(control: str) -> Any:
    """What a control is fitted with."""
    return LETTERS if control == "dpf" else DIPOLE


# velma judges: stance reads several times as much, and has tests of its own.
_LEARNED: dict[str, Any] = {
    "rounds": 1, "completions": 4, "max_new_tokens": 4, "anchor_coef": 0.0, "recognizer": "velma",
}  # fmt: skip

_SAMPLED: dict[str, Any] = {
    "rounds": 1,
    "batch_size": 8,
    "max_new_tokens": 4,
    "anchor_size": 2,
    "reward": "velma",
}

# Constructor arguments that make a control finish in about a second on a tiny model.
CONTROLS: dict[str, dict[str, Any]] = {
    "prompt": {"shots": "0,1", "candidates": 2, "n": 2, "max_new_tokens": 4},
    "ppo": _SAMPLED,
    "grpo": _SAMPLED,
    "rloo": _SAMPLED,
    "sft": {**_LEARNED, "agree": 0.0},
    "best_of_distil": {**_LEARNED, "agree": 0.0, "best_of": 2},
    "dpo": {**_LEARNED, "margin": 0.0, "anchor_coef": 1.0, "anchor_size": 2},
    "kto": {**_LEARNED, "margin": 0.0},
    "dpf": {
        "rounds": 1,
        "completions": 64,
        "per_context": 16,
        "max_new_tokens": 8,
        "anchor_coef": 0.0,
        "low": 0.0,
        "cosine": 0.0,
        "high": 1.0,
    },
    "conditional": {"rounds": 1, "completions": 8, "max_new_tokens": 4},
    "best_of": {"n": 2},
    "vector": {"n": 2, "max_new_tokens": 4, "scales": "0.3"},
    "ablate": {"n": 2, "max_new_tokens": 4, "max_layers": 1},
    "boost": {"weights": "1", "n": 2, "max_new_tokens": 3},
    "semantic": {"weights": "1", "n": 2, "max_new_tokens": 3},
    "contrast": {"weights": "1", "n": 2, "max_new_tokens": 3},
    "cfg": {"weights": "2", "n": 2, "max_new_tokens": 3},
    "dexperts": {"weights": "1", "n": 2, "max_new_tokens": 3},
    "pplm": {"weights": "0.1", "steps": 1, "n": 2, "max_new_tokens": 3},
    "fudge": {"weights": "1", "texts": 1, "n": 2, "max_new_tokens": 3},
    "ilql": {
        "weights": "1",
        "completions": 8,
        "rounds": 2,
        "n": 2,
        "max_new_tokens": 3,
        "recognizer": "velma",
    },
    "pool": {},
    "titles": {"titles": str(Path(__file__).with_name("titles.tsv"))},
    "quotes": {"source": __file__},
    "patchwork": {"source": __file__},
    "grammar": {"regex": " (cats|dogs)[.!]"},
}


def linear_names(lm: LM) -> list[str]:
    """Names of the layers of a block that an adapter can change, whatever the architecture calls them."""
    kinds = ("Linear", "Conv1D", "FalconLinear")
    block = decoder_blocks(lm.resident.model)[0]
    return sorted({n.rsplit(".", 1)[-1] for n, m in block.named_modules() if type(m).__name__ in kinds})


def random_adapter(lm: LM, seed: int = 0, **config: Any) -> Adapter:
    """A LoRA adapter far from zero, as if training had made it."""
    made = LoraConfig(**{"r": 2, "lora_alpha": 4, "target_modules": linear_names(lm), **config})
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        before = Tree(lm.resident.model)
        wrapped = inject(lm.resident.model, [made])
        try:
            state = {k: torch.randn_like(v) * 0.2 for k, v in adapter_state(wrapped, "dipole_0").items()}
        finally:
            before.restore()
    return Adapter(made, state, lm.resident.fingerprint, lm.resident.name)


@functools.cache
def _adapter_for(name: str) -> Adapter:
    return random_adapter(tiny_model(name))


def _prefix_for(name: str) -> Prefix:
    del name
    return Prefix("Paper clips are the best.", (("The cats", " like the dogs."),), "Staples are the best.")


def _best_of_for(name: str) -> BestOf:
    del name
    return BestOf("velma", DIPOLE.to_dict(), 3)


def _boost_for(name: str) -> Boost:
    tokens, values = torch.tensor([40, 9, 50]), torch.tensor([1.5, -1.0, 0.25])
    return Boost(tokens, values, **made_for(tiny_model(name)))


def _contrast_for(name: str) -> Contrast:
    return Contrast("Clips are good.", "Staples are better.", 0.5, **made_for(tiny_model(name)))


def _experts_for(name: str) -> Experts:
    sides = Source("told", "Clips are good."), Source("base")
    return Experts(*sides, 0.5, 0.95, 0.001, 1.0, **made_for(tiny_model(name)))


def _pplm_for(name: str) -> Pplm:
    base = made_for(tiny_model(name))
    return Pplm(torch.tensor([40, 50]), None, None, 0.5, 2, 1.5, 0.9, 0.01, 4, 1, **base)


def random_fudge(name: str, candidates: int = 8, **more: Any) -> Fudge:
    """Guidance by a probe that no text is the same to."""
    lm = tiny_model(name)
    width = lm.resident.width
    norm = float(lm.activations(["Paper clips are the best."], [0])[0][0, 1:].norm(dim=-1).median())
    weight = torch.randn(2 * width, generator=torch.Generator().manual_seed(4)) * (4 / norm)
    return Fudge(0, weight, torch.tensor(0.3), candidates, **made_for(lm), **more)


def random_ilql(name: str, candidates: int = 8, beta: float = 2.0) -> Ilql:
    """Guidance by action values that no two tokens share."""
    lm = tiny_model(name)
    width, draw = lm.resident.width, torch.Generator().manual_seed(6)
    into = torch.randn(2, width, width + 1, generator=draw) / width**0.5
    out = torch.randn(2, width + 1, width + 1, generator=draw)
    policy = torch.randn(width, width, generator=draw) * 0.1
    return Ilql(into, out, policy, beta, candidates, **made_for(lm))


def random_vector(lm: LM, operator: Operator = "add", **more: Any) -> SteeringVector:
    """A steering vector about as long as the activations that it changes."""
    width = lm.resident.width
    norm = float(lm.activations(["Paper clips are the best."], [0])[0][0, 1:].norm(dim=-1).median())
    row = torch.randn(1, width, generator=torch.Generator().manual_seed(3))
    resident = lm.resident
    return SteeringVector(
        (0,),
        row / row.norm() * norm,
        operator,
        base_fingerprint=resident.fingerprint,
        base_name=resident.name,
        **more,
    )


def _vector_for(name: str) -> SteeringVector:
    return random_vector(tiny_model(name))


def _tag_for(name: str) -> Tag:
    return Tag((40, 50), **made_for(tiny_model(name)))


def _pool_for(name: str) -> Pool:
    del name
    return Pool(Labels(("paper clips", "staples", "paper"), "."))


# Kind to an intervention for the tiny model of that name.
INTERVENTIONS: dict[str, Callable[[str], Intervention]] = {
    "adapter": _adapter_for,
    "prefix": _prefix_for,
    "tag": _tag_for,
    "best_of": _best_of_for,
    "vector": _vector_for,
    "boost": _boost_for,
    "contrast": _contrast_for,
    "experts": _experts_for,
    "pplm": _pplm_for,
    "fudge": random_fudge,
    "ilql": random_ilql,
    "pool": _pool_for,
}


def saved(intervention: Intervention, folder: Path) -> Path:
    """The folder that the intervention was saved to."""
    intervention.save(folder)
    return folder
