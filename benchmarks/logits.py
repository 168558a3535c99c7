"""What the controls of logits cost a token, on GPT-2's shape with random weights.

    python benchmarks/logits.py [--rows 1] [--tokens 24] [--rounds 5] [--threads 2] [--device cpu]
                                [--clock wall|cpu] [--json]

Everything runs in this one process on the same weights, interleaved round by round:

* boost against plain generation with the same loop: the addition should be free;
* contrast (two further streams) and cfg (one) against plain generation from as many prompts of the same
  lengths in one batch, which is the least that so many streams can cost;
* PPLM against its own minimum number of passes a token, steps * (forward + backward) + a forward for the
  perturbed text and one for the text itself, each timed bare over a cache of the same length.

Numbers are medians over the rounds, with the range of the quotients. On a machine that others use too,
`--clock cpu --threads 1` counts the seconds of this process alone.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from byte_tokenizer import byte_tokenizer
from transformers import DynamicCache, GPT2Config, GPT2LMHeadModel

from dipole.interventions.logits import Boost, Contrast, made_for
from dipole.interventions.pplm import Pplm
from dipole.lm import LM
from dipole.models.resident import TransformersResident

PROMPT, TOLD, OTHER = "x" * 32, "y" * 7, "z" * 7  # a token a byte
STEPS = 3
Clock = Callable[[], float]


def timed(work: Callable[[], Any], device: str, clock: Clock) -> float:
    """Seconds that one call takes, the device's queue drained on both ends."""
    sync = torch.cuda.synchronize if device.startswith("cuda") else (lambda: None)
    sync()
    start = clock()
    work()
    sync()
    return clock() - start


def writer(lm: LM, rows: int, tokens: int, streams: int = 1) -> Callable[[], Any]:
    """Write `tokens` tokens for so many rows of each of the prompts that the streams of a contrast read."""
    prompts = [PROMPT, f"{TOLD} {PROMPT}", f"{OTHER} {PROMPT}"][:streams]
    return lambda: lm.generate(prompts, n=rows, max_new_tokens=tokens, batch_size=rows * streams)


def bare_passes(model: Any, rows: int, tokens: int, device: str) -> Callable[[], None]:
    """The passes that PPLM can't do without, with nothing between them."""
    prompt = torch.full((rows, len(PROMPT)), 120, device=device)
    token = prompt[:, :1]

    def work() -> None:
        with torch.no_grad():
            cache = DynamicCache(config=model.config)
            model(input_ids=prompt, past_key_values=cache, logits_to_keep=1)
            for _ in range(tokens):
                for _ in range(STEPS):
                    with torch.enable_grad():
                        tried = copy.copy(cache)
                        tried.layers = [copy.copy(layer) for layer in cache.layers]
                        leaves = []
                        for layer in tried.layers:
                            layer.keys = layer.keys.clone().requires_grad_()
                            layer.values = layer.values.clone().requires_grad_()
                            leaves += [layer.keys, layer.values]
                        logits = model(input_ids=token, past_key_values=tried).logits
                        torch.autograd.grad(logits[:, -1, 0].sum(), leaves)
                for use in (True, False):
                    over = cache if use else copy.deepcopy(cache)
                    model(input_ids=token, past_key_values=over)

    return work


def measure(lm: LM, rows: int, tokens: int, rounds: int, device: str, clock: Clock) -> dict[str, Any]:
    """Quotients of each control and what it can't do without."""
    base = made_for(lm)
    boost = Boost(torch.arange(8), torch.ones(8), **base).apply(lm)
    contrast = Contrast(TOLD, OTHER, 1.0, **base).apply(lm)
    cfg = Contrast(TOLD, "", 1.0, **base).apply(lm)
    pplm = Pplm(torch.arange(4), None, None, 0.02, STEPS, 1.5, 0.9, 0.01, 0, 1, **base).apply(lm)
    short = max(2, tokens // 3)  # PPLM takes long
    pairs = {
        "boost": (writer(boost, rows, tokens), writer(lm, rows, tokens)),
        "cfg": (writer(cfg, rows, tokens), writer(lm, rows, tokens, 2)),
        "contrast": (writer(contrast, rows, tokens), writer(lm, rows, tokens, 3)),
        "pplm": (writer(pplm, rows, short), bare_passes(lm.resident.model, rows, short, device)),
    }
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in pairs}
    for round_ in range(rounds + 1):
        for name, (ours, least) in pairs.items():
            pair = (timed(ours, device, clock), timed(least, device, clock))
            if round_:  # the first warms up
                times[name].append(pair)
    result = {}
    for name, found in times.items():
        quotients = [a / b for a, b in found]
        each = short if name == "pplm" else tokens
        result[name] = {
            "ms_per_token": 1e3 * statistics.median(a for a, _ in found) / each,
            "least_ms_per_token": 1e3 * statistics.median(b for _, b in found) / each,
            "quotient": statistics.median(quotients),
            "quotient_range": [min(quotients), max(quotients)],
        }
    return result


def main() -> None:
    """Run the comparison and print it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1)
    parser.add_argument("--tokens", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(eos_token_id=None, bos_token_id=None)).eval().requires_grad_(False)
    lm = LM(
        TransformersResident(
            model.to(options.device),
            byte_tokenizer(50257, bos_token="<50256>", pad_token="<50255>"),
            "gpt2-shape",
        )
    )
    clock = time.process_time if options.clock == "cpu" else time.perf_counter
    result = measure(lm, options.rows, options.tokens, options.rounds, options.device, clock)
    if options.json:
        print(json.dumps({**vars(options), "torch": torch.__version__, "results": result}))
        return
    print(f"{'':10}{'ms a token':>12}{'least':>10}{'quotient':>10}   range")
    for name, row in result.items():
        low, high = row["quotient_range"]
        print(
            f"{name:10}{row['ms_per_token']:12.1f}{row['least_ms_per_token']:10.1f}{row['quotient']:10.3f}"
            f"   {low:.3f} to {high:.3f}"
        )
    sys.stdout.flush()


if __name__ == "__main__":
    main()
