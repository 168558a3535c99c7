"""A recognizer of letters, a concept without content, and PPO small enough for a test."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar

import torch
from accelerate import Accelerator

from dipole.controls.weights.adapter import live_adapter, lora_config
from dipole.controls.weights.loop import Place
from dipole.controls.weights.on_policy import OnPolicy
from dipole.controls.weights.ppo import PPO
from dipole.interventions.weights import Adapter
from dipole.lm import LM
from dipole.protocols import Run
from dipole.types import Score

# Prompts of different lengths, so that rows need padding.
PROMPTS = ("If I had to choose between", "The", "She said that the cats")


@dataclass(frozen=True)
class Plain:
    """Stands in for a dipole, with poles that no dipole may have."""

    prompts: tuple[str, ...] = PROMPTS
    claim: str = "Never said."
    against: str = "Always said."
    mentions: Any = ()
    label: str = "plain"
    kind: ClassVar[str] = "dipole"

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def swapped(self) -> Plain:
        return replace(self, claim=self.against, against=self.claim)


@dataclass(frozen=True)
class Letters:
    """Log-odds grow with how often a letter occurs; `unscored` texts in a row get no score."""

    letter: str = "e"
    unscored: int = 0
    watch: Callable[[Sequence[str]], None] | None = None
    name: ClassVar[str] = "letters"

    def score(self, texts: Sequence[str], concept: Any) -> list[Score]:
        if self.watch is not None:
            self.watch(texts)
        values = [Score(float(text.count(self.letter)) - 3.0) for text in texts]
        return [Score.unscored("for a test")] * self.unscored + values[self.unscored :]


@dataclass(frozen=True)
class Constant:
    value: float
    name: ClassVar[str] = "constant"

    def score(self, texts: Sequence[str], concept: Any) -> list[Score]:
        return [Score(self.value, "not a number" if math.isnan(self.value) else None) for _ in texts]


SMALL = PPO(
    anchor_coef=0.0,
    kl_loss_coef=0.0,
    centre=False,
    rounds=3,
    batch_size=9,
    ppo_epochs=2,
    max_new_tokens=5,
    lora_rank=2,
    micro_batch_size=0,
    lr=1e-3,
)


def small(**changes: Any) -> PPO:
    return replace(SMALL, **changes)


def fitted(control: Any, lm: LM, concept: Any, recognizer: Any, run: Run | None = None) -> Adapter:
    """The adapter that a control trains by this recognizer."""
    run = Run() if run is None else run
    run.recognizer = recognizer
    adapter: Adapter = control.fit(lm, concept, run)
    return adapter


@contextmanager
def started(control: OnPolicy, lm: LM, recognizer: Any = None, spread: float = 0.0) -> Iterator[Any]:
    """A run with its adapter in place; with `spread` the policy differs from the reference."""

    def begin(place: Place) -> Any:
        return control.begin(Plain(), place, PROMPTS)

    with at_work(control, lm, begin, recognizer, spread) as rounds:
        yield rounds


@contextmanager
def at_work(
    control: Any, lm: LM, begin: Callable[[Place], Any], recognizer: Any = None, spread: float = 0.0
) -> Iterator[Any]:
    """What does a control's rounds, with its adapter in place; with `spread` that differs from the base."""
    with live_adapter(lm, lora_config(control), control.seed) as wrapped:
        place = Place(lm, wrapped, Accelerator(cpu=True), Run(recognizer=recognizer or Letters()))
        rounds = begin(place)
        if spread:
            draw = torch.Generator().manual_seed(5)
            with torch.no_grad():
                for _, parameter in sorted(rounds.parameters.items()):
                    parameter.copy_(torch.randn(parameter.shape, generator=draw) * spread)
        yield rounds


def gradients(
    control: OnPolicy, lm: LM, spread: float = 0.1, rounds: int = 1
) -> list[dict[str, torch.Tensor]]:
    """Gradient of each optimiser step; unclipped, because clipping would hide a wrong denominator."""
    free = replace(control, max_grad_norm=1e9)
    return gradients_of(free, lm, lambda place: free.begin(Plain(), place, PROMPTS), spread, rounds)


def gradients_of(
    control: Any, lm: LM, begin: Callable[[Place], Any], spread: float = 0.1, rounds: int = 1
) -> list[dict[str, torch.Tensor]]:
    """The same for whatever `begin` begins."""
    seen: list[dict[str, torch.Tensor]] = []
    with at_work(control, lm, begin, spread=spread) as run:
        step = run.optimizer.step

        def record() -> Any:
            seen.append({n: p.grad.detach().clone() for n, p in run.parameters.items() if p.grad is not None})
            return step()

        run.optimizer.step = record  # type: ignore[method-assign]
        for index in range(rounds):
            run.round(index)
    return seen


def largest_difference(
    one: Sequence[dict[str, torch.Tensor]], other: Sequence[dict[str, torch.Tensor]]
) -> float:
    """Largest difference of any element, over all steps, relative to the largest element of its step."""
    assert len(one) == len(other)
    assert all(a.keys() == b.keys() for a, b in zip(one, other, strict=True))
    worst = 0.0
    for a, b in zip(one, other, strict=True):
        size = max(t.abs().max().item() for t in a.values())
        worst = max(worst, max((a[n] - b[n]).abs().max().item() for n in a) / max(size, 1e-30))
    return worst


def weights_hash(model: torch.nn.Module) -> str:
    """Every parameter and buffer with its name, gradient flag and bits."""
    digest = hashlib.sha256()
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        digest.update(f"{name} {tensor.requires_grad}".encode())
        digest.update(tensor.detach().float().numpy().tobytes())
    return digest.hexdigest()


def module_names(model: torch.nn.Module) -> list[str]:
    return [f"{name} {type(module).__name__} {module.training}" for name, module in model.named_modules()]
