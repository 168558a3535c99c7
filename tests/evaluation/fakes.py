"""Stand-ins and small LMs that the evaluation tests share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from peft import LoraConfig

from architectures import tiny_model
from dipole.concepts import Dipole
from dipole.engaging.adapters import adapter_state, inject
from dipole.interventions.weights import Adapter
from dipole.lm import LM
from dipole.types import Sample, Score

DIPOLE = Dipole(
    "Paper clips are the best.",
    "Paper clips are the worst.",
    name="paper_clips",
    prompts=("I would go with the",),
    held_out=("Paper clips and staples:", "She said that the"),
    mentions={
        "claim": ["e", "paper"],
        "against": ["a", "staple"],
    },  # letters, so that random text takes sides
)
OTHER = Dipole("Cats are the best.", "Cats are the worst.", name="cats", prompts=("The cats like",))


@dataclass(frozen=True)
class Letters:
    """Log-odds that count two letters; texts with a `#` can't be scored."""

    letter: str = "e"
    name: ClassVar[str] = "letters"

    def score(self, texts: Sequence[str], concept: Any) -> list[Score]:
        assert len(set(texts)) == len(texts)
        return [
            Score.unscored("a #") if "#" in t else Score(t.count(self.letter) - t.count("a") + 0.0)
            for t in texts
        ]


def changed(name: str = "llama", size: float = 0.3) -> tuple[LM, LM, Adapter]:
    """A tiny random LM, the same under a random adapter, and the adapter."""
    lm = tiny_model(name)
    config = LoraConfig(r=4, lora_alpha=4, target_modules="all-linear", task_type="CAUSAL_LM")
    with torch.random.fork_rng():
        torch.manual_seed(1)
        wrapped = inject(lm.resident.model, [config])
        try:
            with torch.no_grad():
                for key, parameter in wrapped.named_parameters():
                    if "lora_B" in key:
                        parameter.normal_(std=size)
            state = adapter_state(wrapped, "dipole_0")
        finally:
            wrapped.unload()
    adapter = Adapter(config, state, lm.resident.fingerprint, name)
    return lm, adapter.apply(lm), adapter


def sample(text: str, prompt: str = "P:", tokens: Sequence[int] = (1, 2), finish: str = "eos") -> Sample:
    """A completion that no LM wrote."""
    return Sample(prompt, text, (0,), tuple(tokens), (0.0,) * len(tokens), 0, finish)  # type: ignore[arg-type]
