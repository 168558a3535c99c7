"""VELMA against the published one-text-at-a-time algorithm, on GPT-2's shape with random weights.

    python benchmarks/velma.py [--texts 64] [--threads 2] [--device cpu] [--json]

Both sides run in this one process on the same weights and token ids, interleaved round by round, and their
log-odds are compared before anything is timed. The published algorithm, written again here from its
description: for each text and each statement a forward of its own over text and statement, logits at every
position, a log-softmax, and a mask that keeps the statement's tokens. The released code also computes the
likelihood of each statement without a text at every call, and uses it for nothing; it is timed with that and
without it.

Two pairs of statements are timed, because the tree shares what two statements have in common: one that
differs in a single word, as the published pair does, and one that has nothing in common.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from byte_tokenizer import byte_tokenizer
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel

from dipole.lm import LM
from dipole.models.resident import TransformersResident
from dipole.recognizers._tree import build_tree
from dipole.recognizers.likelihood import continuation_likelihoods

TEXT, POLE = 40, 7  # tokens
TEMPERATURE = 0.2


def published(model: Any, texts: Tensor, poles: Tensor, priors: bool) -> Tensor:
    """Log-odds `(texts,)`: one forward for every text and statement.

    Args:
        model: The scorer.
        texts: `(texts, tokens)`.
        poles: `(2, tokens)`.
        priors: Whether each statement is also read alone, as the released code does at every call.
    """
    odds = []
    with torch.no_grad():
        for text in texts:
            means = []
            for pole in poles:
                joint = torch.cat([text, pole])[None]
                logprobs = torch.log_softmax(model(input_ids=joint, use_cache=False).logits[:, :-1], dim=-1)
                picked = logprobs.gather(-1, joint[:, 1:, None])[..., 0]
                mask = torch.zeros_like(picked)
                mask[:, -len(pole) :] = 1
                means.append((picked * mask).sum() / mask.sum())
                if priors:
                    alone = torch.log_softmax(model(input_ids=pole[None], use_cache=False).logits[:, :-1], -1)
                    alone.gather(-1, pole[None, 1:, None]).mean()
            odds.append((means[0] - means[1]) / TEMPERATURE)
    return torch.stack(odds).double().cpu()


def ours(lm: LM, texts: list[list[int]], poles: list[list[int]], batch_size: int) -> Tensor:
    """Log-odds `(texts,)` by the engine under `Velma`."""
    means = continuation_likelihoods(lm, texts, poles, batch_size=batch_size).nats_per_token
    return (means[:, 0] - means[:, 1]) / TEMPERATURE


def matmul_flops(config: GPT2Config, positions: int, width: int, logits: int) -> float:
    """Floating-point operations in the matrix multiplications of one row's forward, two a multiply-add."""
    d, layers = config.n_embd, config.n_layer
    blocks = layers * (2.0 * 12 * d * d * positions + 2 * 2 * positions * width * d)
    return blocks + 2.0 * d * config.vocab_size * logits


def matmul_peak(config: GPT2Config, tokens: int, logits: int, device: str) -> float:
    """FLOP/s of the forward's own matrix products, best of several, weighted as the forward has them."""
    d = config.n_embd
    shapes = [(tokens, d, 3 * d, config.n_layer), (tokens, d, d, config.n_layer)]
    shapes += [(tokens, d, 4 * d, config.n_layer), (tokens, 4 * d, d, config.n_layer)]
    shapes += [(logits, d, config.vocab_size, 1)]
    total = seconds = 0.0
    for m, k, n, count in shapes:
        a, b = torch.randn(m, k, device=device), torch.randn(k, n, device=device)
        out = torch.empty(m, n, device=device)
        best = min(timed(lambda a=a, b=b, out=out: torch.mm(a, b, out=out), device) for _ in range(7))
        total += 2.0 * m * k * n * count
        seconds += best * count
    return total / seconds


def timed(work: Callable[[], Any], device: str) -> float:
    """Seconds that one call takes, the device's queue drained on both ends."""
    sync = torch.cuda.synchronize if device.startswith("cuda") else (lambda: None)
    sync()
    start = time.perf_counter()
    work()
    sync()
    return time.perf_counter() - start


def measure(lm: LM, n: int, shared: int, batch_size: int, rounds: int, device: str) -> dict[str, Any]:
    """Time both sides on `n` texts and a pair of statements that begin with `shared` common tokens."""
    config = lm.resident.model.config
    generator = torch.Generator().manual_seed(1)
    texts = torch.randint(0, 50256, (n, TEXT), generator=generator)
    poles = torch.randint(0, 50256, (2, POLE), generator=generator)
    poles[1, :shared] = poles[0, :shared]
    rows, pairs = texts.tolist(), poles.tolist()
    sample = texts[: max(4, n // 8)].to(device)
    poles = poles.to(device)
    gap = (
        published(lm.resident.model, sample, poles, False) - ours(lm, rows, pairs, batch_size)[: len(sample)]
    ).abs()
    if float(gap.max()) > 1e-3:
        raise SystemExit(f"the two sides disagree by {float(gap.max()):.1e} in log-odds")
    theirs, released, mine = [], [], []
    model = lm.resident.model
    for _ in range(rounds):
        theirs.append(timed(lambda: published(model, sample, poles, False), device) / len(sample))
        released.append(timed(lambda: published(model, sample, poles, True), device) / len(sample))
        mine.append(timed(lambda: ours(lm, rows, pairs, batch_size), device) / n)
    nodes = len(build_tree(pairs).ids)
    flops = matmul_flops(config, TEXT + nodes, TEXT + nodes, nodes + 1)
    theirs_flops = 2 * matmul_flops(config, TEXT + POLE, TEXT + POLE, TEXT + POLE)
    batch = min(batch_size, n)
    peak = matmul_peak(config, batch * (TEXT + nodes), batch * (nodes + 1), device)
    ms_theirs, ms = 1e3 * statistics.median(theirs), 1e3 * statistics.median(mine)
    return {
        "shared_tokens": shared,
        "texts": n,
        "published_ms_per_text": ms_theirs,
        "ours_ms_per_text": ms,
        "times_faster": ms_theirs / ms,
        "released_ms_per_text": 1e3 * statistics.median(released),
        "times_faster_than_released": 1e3 * statistics.median(released) / ms,
        "times_faster_range": [
            min(t / m for t, m in zip(theirs, mine, strict=True)),
            max(t / m for t, m in zip(theirs, mine, strict=True)),
        ],
        "times_fewer_flops": theirs_flops / flops,
        "ours_gflops": flops / ms / 1e6,
        "matmul_peak_gflops": peak / 1e9,
        "share_of_peak": flops / ms * 1e3 / peak,
        "published_share_of_peak": theirs_flops / ms_theirs * 1e3 / peak,
        "max_difference_log_odds": float(gap.max()),
    }


def main() -> None:
    """Run the comparison and print it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--texts", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config()).eval().requires_grad_(False).to(options.device)
    lm = LM(
        TransformersResident(
            model,
            byte_tokenizer(50257, bos_token="<50256>", eos_token="<50256>", pad_token="<50256>"),
            "gpt2-shape",
        )
    )
    results = [
        measure(lm, options.texts, shared, options.batch_size, options.rounds, options.device)
        for shared in (POLE - 2, 0)
    ]
    if options.json:
        header = {"device": options.device, "threads": options.threads, "torch": torch.__version__}
        print(json.dumps({**header, "results": results}))
        return
    print(
        f"{'':28}"
        + "".join(f"{'differ in a word' if r['shared_tokens'] else 'nothing shared':>18}" for r in results)
    )
    for key in results[0]:
        if isinstance(results[0][key], list):
            cells = ["{:.2f} to {:.2f}".format(*r[key]) for r in results]
        else:
            cells = [f"{r[key]:.4g}" for r in results]
        print(f"{key:28}" + "".join(f"{c:>18}" for c in cells))
    sys.stdout.flush()


if __name__ == "__main__":
    main()
