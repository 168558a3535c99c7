"""Run by the tests in processes of their own: one of several that train together, or one that is killed.

`python worker.py gradients OUT` and `python worker.py fit OUT` take their place among the processes from
the environment that a launcher sets; `python worker.py killed OUT MODE` ends by SIGKILL.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch
from accelerate import PartialState
from safetensors.torch import save_file

from architectures import fresh_tiny_model
from controls.weights.small import (
    Letters,
    Plain,
    fitted,
    gradients,
    gradients_of,
    small,
    weights_hash,
)
from dipole.concepts import Dipole
from dipole.controls.weights.dpo import DPO
from dipole.controls.weights.grpo import GRPO, RLOO
from dipole.controls.weights.kto import KTO
from dipole.controls.weights.learning import Learner
from dipole.controls.weights.on_policy import OnPolicy
from dipole.controls.weights.sft import SFT
from dipole.files import CHECKPOINT
from dipole.lm import LM
from dipole.protocols import Run

_GROUPED: dict[str, Any] = {
    "anchor_coef": 0.0, "kl_loss_coef": 0.2, "centre": False, "rounds": 3, "batch_size": 9, "group_size": 3,
    "epochs": 2, "max_new_tokens": 5, "lora_rank": 2, "lr": 0.0,
}  # fmt: skip
# Uneven shares (9 rows over 2 processes); a last minibatch of one row, which leaves a process without any;
# micro-batches that one process needs and the other does not.
CASES: dict[str, OnPolicy] = {
    "whole": small(lr=0.0),
    "minibatches": small(lr=0.0, minibatch_size=4),
    "micro": small(lr=0.0, micro_batch_size=4),
    "both": small(lr=0.0, minibatch_size=5, micro_batch_size=2),
    "grpo": GRPO(length="token", advantage="running", minibatch_size=4, **_GROUPED),
    "rloo": RLOO(minibatch_size=4, micro_batch_size=3, **_GROUPED),
    "anchor": small(lr=0.0, anchor_coef=2.0, anchor_size=9),
    "anchor-minibatches": small(lr=0.0, minibatch_size=4, anchor_coef=2.0, anchor_size=9),
}
# The last minibatch of sft has a single row.
STILL: dict[str, Any] = {"rounds": 1, "max_new_tokens": 5, "lora_rank": 2, "lr": 0.0, "max_grad_norm": 1e9}
LEARNERS: dict[str, Learner] = {
    "sft": SFT(completions=9, agree=0.0, batch_size=4, anchor_size=3, **STILL),
    "dpo": DPO(completions=5, margin=0.0, batch_size=3, anchor_coef=0.0, **STILL),
    "kto": KTO(completions=5, margin=0.0, batch_size=6, anchor_coef=0.0, **STILL),
}
NAMES = (*CASES, *LEARNERS)
PAIRS = (*(("gpt2", name) for name in NAMES), *(("llama", name) for name in ("both", "rloo", "dpo")))


def gradients_in(case: str, architecture: str) -> list[dict[str, torch.Tensor]]:
    lm = fresh_tiny_model(architecture)
    return learner_gradients(LEARNERS[case], lm) if case in LEARNERS else gradients(CASES[case], lm)


def write_gradients(out: Path) -> None:
    for architecture, name in PAIRS:
        steps = gradients_in(name, architecture)
        flat = {f"{step}.{key}": value for step, named in enumerate(steps) for key, value in named.items()}
        save_file(flat, out / f"{architecture}-{name}-{PartialState().process_index}.safetensors")


def learner_gradients(learner: Learner, lm: LM) -> list[dict[str, torch.Tensor]]:
    """Of own texts, which are drawn in shares."""
    dipole = Dipole("Cats are best.", "Cats are worst.", prompts=("The cats", "If I had to choose between"))
    return gradients_of(learner, lm, lambda place: learner.begin(place, dipole, []))


def fit(out: Path) -> None:
    lm = fresh_tiny_model("gpt2")
    before = weights_hash(lm.resident.model)
    run = Run(folder=out / f"run-{PartialState().process_index}")
    assert run.folder is not None
    run.folder.mkdir()
    told: list[int] = []
    run.on_round = lambda index, total, metrics: told.append(index)
    adapter = fitted(small(minibatch_size=4), lm, Plain(), Letters(), run)
    assert weights_hash(lm.resident.model) == before
    assert told == ([0, 1, 2] if PartialState().is_main_process else [])
    assert len(run.history) == 3
    save_file(adapter.state, out / f"fit-{PartialState().process_index}.safetensors")


def killed(out: Path, mode: str) -> None:
    """SIGKILL in the middle of the third round, or while the third checkpoint takes its name."""
    rounds: list[int] = []

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def watch(_texts: Sequence[str]) -> None:
        rounds.append(0)
        if mode == "round" and len(rounds) == 3:
            die()

    replace = os.replace

    def die_at_the_checkpoint(source: Path, target: Path) -> None:
        if mode == "write" and len(rounds) == 3 and target.name == CHECKPOINT:
            source.write_bytes(source.read_bytes()[:1000])
            die()
        replace(source, target)

    os.replace = die_at_the_checkpoint  # type: ignore[assignment]
    fitted(small(rounds=4), fresh_tiny_model("gpt2"), Plain(), Letters(watch=watch), Run(folder=out))


def main() -> None:
    torch.set_num_threads(1)
    verb, out = sys.argv[1], Path(sys.argv[2])
    if verb == "killed":
        killed(out, sys.argv[3])
    else:
        PartialState(cpu=True)
        write_gradients(out)
        fit(out)
        PartialState().wait_for_everyone()
        PartialState().destroy_process_group()


if __name__ == "__main__":
    main()
