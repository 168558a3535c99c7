"""Verbatim quotes from a source of 1 MB: random generations, each compared with its place in the source.

    python benchmarks/quotes.py [--samples 1000] [--size 1000000] [--source FILE] [--model mini] [--json]

The source is made text with words in several scripts, or a file of your own. A third of the generations are
one quote, a third a patchwork of quotes with a separator, a third free text with quotes between marks. The
script fails (exit code 1) if a quote differs from `source[start:end]` by a character.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import sys
import time
from pathlib import Path

import dipole
from dipole.interventions.tokens import Document, Pool, Quotes

_SCRIPTS = (
    (0x61, 0x7A),
    (0x61, 0x7A),
    (0x61, 0x7A),
    (0xE0, 0xF6),
    (0x3B1, 0x3C9),
    (0x430, 0x44F),
    (0x4E00, 0x4E80),
)
_JOINS = (" ",) * 12 + (", ", ". ", " — ", "; ", "\n", " “", "” ", "'s ", " 🙂 ", "-")


def made_source(size: int, seed: int = 0) -> str:
    """Text of about so many bytes from 4,000 made words, frequent ones as frequent as in Zipf's law."""
    draw = random.Random(seed)
    words = []
    for _ in range(4000):
        low, high = draw.choice(_SCRIPTS)
        words.append("".join(chr(draw.randint(low, high)) for _ in range(draw.randint(1, 9))))
    weights = [1 / (rank + 1) for rank in range(len(words))]
    parts, total = [], 0
    while total < size:
        chunk = "".join(w + draw.choice(_JOINS) for w in draw.choices(words, weights, k=500))
        parts.append(chunk)
        total += len(chunk.encode())
    return "".join(parts)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--size", type=int, default=1_000_000)
    parser.add_argument("--source", type=Path)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--new-tokens", type=int, default=32)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    text = args.source.read_bytes().decode() if args.source else made_source(args.size)
    lm = dipole.load(args.model, device="cpu")
    documents = (Document.of("source", text),)
    pools = (
        Quotes(documents),
        Quotes(documents, 3, " […] ", cut_cost=-6.0),
        Quotes(documents, 3, marks=("“", "”"), cut_cost=-6.0),
    )
    result = {
        "bytes": len(text.encode()),
        "samples": 0,
        "quotes": 0,
        "complete": 0,
        "non_ascii": 0,
        "wrong": 0,
    }
    started = time.perf_counter()
    for pool in pools:
        _ = pool.sources.quotable
    result["build_seconds"] = round((time.perf_counter() - started) / len(pools), 2)
    started = time.perf_counter()
    for k, pool in enumerate(pools):
        prompts = ["I say: “", "They wrote this: “"] if pool.marks else ["I say:", ""]
        n = (args.samples * (k + 1) // 3 - args.samples * k // 3 + 1) // 2
        for sample in Pool(pool).apply(lm).generate(prompts, n=n, max_new_tokens=args.new_tokens, seed=k):
            result["samples"] += 1
            for segment in pool.attribute(sample.text, sample.prompt):
                result["quotes"] += 1
                result["complete"] += segment.complete
                result["non_ascii"] += not segment.text.isascii()
                result["wrong"] += (
                    segment.document is None or segment.text != text[segment.start : segment.end]
                )
    result["seconds"] = round(time.perf_counter() - started, 1)
    result["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(json.dumps(result) if args.json else "\n".join(f"{k:14} {v}" for k, v in result.items()))
    return 1 if result["wrong"] or not result["quotes"] else 0


if __name__ == "__main__":
    sys.exit(main())
