"""What the controls of activations cost a token, on GPT-2's shape with random weights.

    python benchmarks/activations.py [--rows 1] [--tokens 32] [--rounds 7] [--threads 2] [--processor]
                                     [--device cpu] [--json]

Everything runs in this one process on the same weights, interleaved round by round, always in a new order:
plain generation with the same loop, `generate` of transformers (sampling), and each control.

| name | what is done |
|---|---|
| vector | one vector added after one block |
| four | a vector added after each of four blocks |
| kept | one vector added, norms kept |
| project | one component removed after one block |
| ablate | one direction removed from the embeddings and after every attention and MLP (25 places) |

Numbers are medians over the rounds of the quotient with plain generation of the same round, with their
range; of wall-clock seconds, or with `--processor` of processor seconds over all threads, which say more on a
machine that does other work.
"""

from __future__ import annotations

import argparse
import functools
import json
import random
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from byte_tokenizer import byte_tokenizer
from logits import PROMPT, timed
from transformers import GPT2Config, GPT2LMHeadModel

from dipole.engaging.operators import Operator
from dipole.interventions.activations import SteeringVector
from dipole.lm import LM
from dipole.models.resident import TransformersResident

WIDTH = 768


def vector(*layers: int, operator: Operator = "add", keep_norm: bool = False) -> SteeringVector:
    """A vector small enough to leave the work as it is."""
    return SteeringVector(layers, torch.full((len(layers), WIDTH), 1e-3), operator, keep_norm)


def writers(lm: LM, rows: int, tokens: int) -> dict[str, Callable[[], Any]]:
    """What is timed, by name."""

    def write(steered: LM) -> Callable[[], Any]:
        return lambda: steered.generate(PROMPT, n=rows, max_new_tokens=tokens, batch_size=rows)

    ids = torch.tensor([lm.resident.encode(PROMPT)] * rows, device=lm.resident.device)
    made = {
        "vector": vector(6),
        "four": vector(2, 4, 6, 8),
        "kept": vector(6, keep_norm=True),
        "project": vector(6, operator="project"),
        "ablate": vector(6, operator="ablate"),
    }
    return {
        "plain": write(lm),
        "transformers": lambda: lm.resident.model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=tokens, do_sample=True
        ),
        **{name: write(each.apply(lm)) for name, each in made.items()},
    }


def measure(
    lm: LM, rows: int, tokens: int, rounds: int, clock: Callable[[Callable[[], Any]], float]
) -> dict[str, dict[str, float]]:
    """Quotient of each with plain generation."""
    work = writers(lm, rows, tokens)
    quotients: dict[str, list[float]] = {name: [] for name in work}
    plain = []
    for turn in range(rounds + 1):
        seconds = {}
        for name in random.Random(turn).sample(list(work), len(work)):
            seconds[name] = clock(work[name])
        if turn:  # the first round warms up
            plain.append(seconds["plain"])
            for name, taken in seconds.items():
                quotients[name].append(taken / seconds["plain"])
    result = {
        name: {"quotient": statistics.median(found), "lowest": min(found), "highest": max(found)}
        for name, found in quotients.items()
    }
    result["plain"]["milliseconds_a_step"] = 1000 * statistics.median(plain) / tokens
    return result


def processor_seconds(work: Callable[[], Any]) -> float:
    """Seconds of all threads that one call takes."""
    start = time.process_time()
    work()
    return time.process_time() - start


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=1)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--processor", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(eos_token_id=None, bos_token_id=50256, pad_token_id=50255))
    model = model.to(options.device).eval().requires_grad_(False)
    lm = LM(
        TransformersResident(
            model, byte_tokenizer(50257, bos_token="<50256>", pad_token="<50255>"), "gpt2-shape"
        )
    )
    clock = (
        processor_seconds
        if options.processor
        else functools.partial(timed, device=options.device, clock=time.perf_counter)
    )
    result = measure(lm, options.rows, options.tokens, options.rounds, clock)
    if options.json:
        print(json.dumps({"rows": options.rows, "tokens": options.tokens, "quotients": result}))
        return 0
    print(f"plain: {result['plain']['milliseconds_a_step']:.1f} ms a step of {options.rows} rows")
    for name, found in result.items():
        print(f"{name:>12}  {found['quotient']:.3f}  ({found['lowest']:.3f} to {found['highest']:.3f})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
