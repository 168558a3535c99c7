"""Train a bundled model: `python -m dipole.microworld.train --size tiny --out DIR --steps 3000`.

Seeded; a killed run goes on with `--resume` and ends with the same weights, if its length was given in steps.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor
from transformers import AutoTokenizer, LlamaForCausalLM, PreTrainedTokenizerFast
from transformers.utils.logging import disable_progress_bar

from dipole.files import claimed, code_of, write_bytes_atomic, write_text_atomic
from dipole.files.reader import parse_json
from dipole.microworld.data import Rows, make_shard
from dipole.microworld.documents import LATER_MIXTURE, MIXTURE, generate
from dipole.microworld.model import SIZES, Size, build, loss_sum
from dipole.microworld.tokenizer import train_tokenizer
from dipole.tensors import Wanted, read_stored
from dipole.types import UserError

CHECKPOINT = "checkpoint.safetensors"


@dataclass(frozen=True)
class Run:
    """A training run.

    Attributes:
        size: key of SIZES.
        out: folder of the trained model and of the checkpoint.
        steps: length in optimizer steps; 0 to go by `minutes`.
        minutes: length in minutes of training.
        seed: of weights, documents and order.
        documents: in each shard.
        shards: of documents; when all are used, those of the later mixture come again in another order.
        early: how many shards come first, in MIXTURE; the others are in LATER_MIXTURE.
        every: steps between checkpoints.
        compile: whether to compile the loss (slow to start, faster by half).
    """

    size: str
    out: Path
    steps: int = 0
    minutes: float = 0.0
    seed: int = 0
    documents: int = 60_000
    shards: int = 24
    early: int = 8
    every: int = 250
    compile: bool = True


def rate(progress: float, warmup: float = 0.02) -> float:
    """Share of the peak learning rate: linear warm-up, then linear decay to 0."""
    return min(progress / warmup, (1 - progress) / (1 - warmup)) if progress < 1 else 0.0


def optimizers(model: LlamaForCausalLM, learning_rate: float) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the blocks, AdamW for embeddings and norms."""
    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n]
    others = [p for n, p in model.named_parameters() if p.ndim != 2 or "embed" in n]
    muon = torch.optim.Muon(matrices, lr=learning_rate, weight_decay=0.01, adjust_lr_fn="match_rms_adamw")
    return [muon, torch.optim.AdamW(others, lr=learning_rate, betas=(0.9, 0.95), weight_decay=0.0)]


def plan(shard: dict[int, Rows], batch_tokens: int) -> dict[int, int]:
    """Rows of each length in one step, so that all lengths of a shard are used up together."""
    total = sum(rows.ids.size for rows in shard.values())
    return {length: max(1, round(len(rows.ids) * batch_tokens / total)) for length, rows in shard.items()}


def batches(
    run: Run, tokenizer: PreTrainedTokenizerFast, first_step: int
) -> Iterator[list[tuple[Tensor, Tensor]]]:
    """(ids, segments) of each row length, from that step on. Needs no state but the number of the step."""
    size = SIZES[run.size]
    cache = run.out / "shards"
    cache.mkdir(parents=True, exist_ok=True)
    step, visit, counts = 0, 0, dict[int, int]()
    while True:
        early = visit < run.early
        number = visit if early else run.early + (visit - run.early) % max(1, run.shards - run.early)
        shard = make_shard(
            tokenizer,
            partial(
                generate,
                run.documents,
                f"train {run.seed} {number}",
                forms=MIXTURE if early else LATER_MIXTURE,
            ),
            size.lengths,
            cache / f"{number:03}.npz",
        )
        if visit in (0, run.early):
            counts = plan(
                shard, size.batch_tokens
            )  # fixed for the shards of a mixture: each shape compiles once
        rng = np.random.default_rng([run.seed, visit])
        order = {length: rng.permutation(len(rows.ids)) for length, rows in shard.items()}
        n = min(len(order[length]) // count for length, count in counts.items())
        for i in range(max(0, first_step - step), n):
            yield [_take(shard[length], order[length][i * c : (i + 1) * c]) for length, c in counts.items()]
        step, visit = step + n, visit + 1


def _take(rows: Rows, which: Any) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(rows.ids[which].astype(np.int64)), torch.from_numpy(
        rows.segments[which].astype(np.int64)
    )


def save_checkpoint(
    path: Path, model: LlamaForCausalLM, opts: list[torch.optim.Optimizer], state: dict[str, Any]
) -> None:
    """Weights, optimizer states and the run's state in one safetensors file, replaced whole or not."""
    tensors = {f"model/{n}": p.detach() for n, p in model.named_parameters()}
    for o, opt in enumerate(opts):
        for index, values in opt.state_dict()["state"].items():
            tensors |= {f"opt/{o}/{index}/{k}": torch.as_tensor(v) for k, v in values.items()}
    packed = save({k: v.contiguous() for k, v in tensors.items()}, {"state": json.dumps(state)})
    write_bytes_atomic(path, packed)


def load_checkpoint(path: Path, model: LlamaForCausalLM, opts: list[torch.optim.Optimizer]) -> dict[str, Any]:
    """The inverse of `save_checkpoint`; returns the run's state."""
    optimizer_states: list[dict[int, dict[str, Tensor]]] = [{} for _ in opts]
    stored = read_stored(path, {}, "start again in another folder", others=Wanted("any", finite=False))
    parameters = dict(model.named_parameters())
    for key, tensor in stored.tensors.items():
        kind, rest = key.split("/", 1)
        if kind == "model":
            parameters[rest].data.copy_(tensor)
        else:
            o, index, name = rest.split("/")
            optimizer_states[int(o)].setdefault(int(index), {})[name] = tensor
    state: dict[str, Any] = parse_json(stored.metadata["state"])
    for opt, values in zip(opts, optimizer_states, strict=True):
        opt.load_state_dict(opt.state_dict() | {"state": values})
    return state


def _tokenizer(run: Run, size: Size) -> PreTrainedTokenizerFast:
    if (run.out / "tokenizer.json").exists():
        found: Any = AutoTokenizer.from_pretrained(run.out)
        return cast(PreTrainedTokenizerFast, found)
    texts = [d.text for d in generate(40_000, f"tokenizer {run.seed}")]
    tokenizer = train_tokenizer(texts, size.vocabulary, whole_words=size.whole_words)
    tokenizer.save_pretrained(run.out)
    return tokenizer


def train(run: Run, resume: bool = False, stop_after: int | None = None) -> LlamaForCausalLM:
    """Train, save into `run.out` and return the model.

    Args:
        run: what to train.
        resume: go on from the checkpoint in `run.out`, if there is one.
        stop_after: end as if killed after this many steps, its checkpoint written (for tests).
    """
    size = SIZES[run.size]
    run.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(run.seed)
    tokenizer = _tokenizer(run, size)
    model = build(size, tokenizer)
    opts = optimizers(model, size.learning_rate)
    state: dict[str, Any] = {"step": 0, "seconds": 0.0, "tokens": 0}
    if resume and (run.out / CHECKPOINT).exists():
        state |= load_checkpoint(run.out / CHECKPOINT, model, opts)
    loss_function = torch.compile(loss_sum, dynamic=False) if run.compile else loss_sum
    parameters = dict(model.named_parameters())
    progress = _Progress(run, state["step"])
    last = time.monotonic()
    for batch in batches(run, tokenizer, state["step"]):
        done = _done(run, state)
        if done >= 1 or state["step"] == stop_after:
            break
        n = sum(int(((s[:, 1:] == s[:, :-1]) & (s[:, 1:] != 255)).sum()) for _, s in batch)
        total = 0.0
        for ids, segments in batch:
            loss = loss_function(parameters, size.heads, ids, segments) / n
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.item()
        _update(model, opts, size.learning_rate * rate(max(done, 1e-3)))
        now = time.monotonic()
        state = {
            "step": state["step"] + 1,
            "seconds": state["seconds"] + now - last,
            "tokens": state["tokens"] + n,
        }
        last = now
        progress.show(state, total, n)
        if state["step"] % run.every == 0:
            _save(run, model, opts, state)
    _save(run, model, opts, state)
    return model


def _update(model: LlamaForCausalLM, opts: list[torch.optim.Optimizer], learning_rate: float) -> None:
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for opt in opts:
        for group in opt.param_groups:
            group["lr"] = learning_rate
        opt.step()
        opt.zero_grad()


def _save(
    run: Run, model: LlamaForCausalLM, opts: list[torch.optim.Optimizer], state: dict[str, Any]
) -> None:
    save_checkpoint(run.out / CHECKPOINT, model, opts, state)
    with tempfile.TemporaryDirectory(dir=run.out, prefix=".model-") as scratch:
        model.save_pretrained(scratch)
        for path in sorted(Path(scratch).iterdir()):
            path.replace(run.out / path.name)
    facts = {"size": run.size, "seed": run.seed, "steps": state["step"], "tokens": state["tokens"]}
    facts["minutes"] = round(state["seconds"] / 60, 1)
    write_text_atomic(run.out / "training.json", json.dumps(facts) + "\n")


def _done(run: Run, state: dict[str, Any]) -> float:
    by_steps: float = state["step"] / run.steps if run.steps else 0.0
    by_time: float = state["seconds"] / 60 / run.minutes if run.minutes else 0.0
    return max(by_steps, by_time)


class _Progress:
    """Prints loss, tokens a second and time to go on stderr."""

    def __init__(self, run: Run, step: int) -> None:
        self.run, self.first, self.tokens, self.loss = run, step, 0, 0.0
        self.start = time.monotonic()

    def show(self, state: dict[str, Any], loss: float, n: int) -> None:
        self.tokens += n
        self.loss = loss if not self.loss else 0.95 * self.loss + 0.05 * loss
        if state["step"] % 25 and state["step"] > 3:
            return
        done = _done(self.run, state)
        seconds = time.monotonic() - self.start
        left = state["seconds"] * (1 / max(done, 1e-6) - 1) / 60
        print(
            f"step {state['step']}  loss {self.loss:.4f} nats/token  {self.tokens / seconds:,.0f} tokens/s  "
            f"{self.tokens / 1e6:.2f} M tokens  {done:.1%} done, {left:.1f} min to go",
            file=sys.stderr, flush=True,
        )  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m dipole.microworld.train", description=__doc__)
    parser.add_argument("--size", choices=sorted(SIZES), required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder for the model and its checkpoint")
    parser.add_argument("--steps", type=int, default=0, help="length in optimizer steps")
    parser.add_argument("--minutes", type=float, default=0.0, help="length in minutes, if no steps are given")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--documents", type=int, default=60_000, help="documents in each shard")
    parser.add_argument("--shards", type=int, default=24)
    parser.add_argument("--early", type=int, default=8, help="shards in the first mixture")
    parser.add_argument("--every", type=int, default=250, help="steps between checkpoints")
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--no-compile", dest="compile", action="store_false")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in --out")
    options = vars(parser.parse_args(argv))
    torch.set_num_threads(options.pop("threads"))
    resume = options.pop("resume")
    run = Run(**options)
    if run.steps <= 0 and run.minutes <= 0:
        print("Say how long to train: --steps N or --minutes N, a positive number.", file=sys.stderr)
        return 2
    if (run.out / CHECKPOINT).exists() and not resume:
        print(f"{run.out} holds a checkpoint: go on with --resume, or choose another --out.", file=sys.stderr)
        return 2
    disable_progress_bar()  # type: ignore[no-untyped-call]  # of transformers' saving, which would break up ours
    try:
        with claimed(run.out):
            train(run, resume)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(code_of(main))
