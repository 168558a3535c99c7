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
from dipole.concepts import Dipole
from dipole.interventions._engage import Tree
from dipole.interventions.decode import BestOf
from dipole.interventions.prompt import Prefix
from dipole.interventions.weights import Adapter, adapter_state, inject
from dipole.lm import LM
from dipole.models.blocks import decoder_blocks
from dipole.types import Intervention

DIPOLE = Dipole(
    "Paper clips are the best.",
    "Paper clips are the worst.",
    prompts=("If I had to choose between paper clips and staples,", "The cats"),
)

# Constructor arguments that make a control finish in about a second on a tiny model.
CONTROLS: dict[str, dict[str, Any]] = {
    "prompt": {"shots": "0,1", "candidates": 2, "n": 2, "max_new_tokens": 4},
    "ppo": {"rounds": 1, "batch_size": 8, "max_new_tokens": 4},
    "best_of": {"n": 2},
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


# Kind to an intervention for the tiny model of that name.
INTERVENTIONS: dict[str, Callable[[str], Intervention]] = {
    "adapter": _adapter_for,
    "prefix": _prefix_for,
    "best_of": _best_of_for,
}


def saved(intervention: Intervention, folder: Path) -> Path:
    """The folder that the intervention was saved to."""
    intervention.save(folder)
    return folder
