"""Inoculate the bundled LM with every microworld dipole, in both directions, at the default settings.

    python benchmarks/topics.py --out benchmarks/results/topics.jsonl
    python benchmarks/topics.py --out benchmarks/results/topics.jsonl --table

Each run is measured on prompt wordings that were never trained on, 128 completions before and after, and
held against the targets of `make demo`. Finished runs are kept: the command goes on where it was stopped,
and several processes may share the work (`--part 0/2`, `--part 1/2`).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

TARGETS = {
    "against": ("<=", 0.02),
    "claim": (">=", 0.90),
    "kl": ("<=", 3.0),
    "perplexity": ("<=", 1.15),
    "distinct_2": (">=", 0.8),
    "bystanders": ("<=", 0.05),
    "seconds": ("<=", 60.0),
}


def run(name: str, swapped: bool, model: str) -> dict[str, Any]:
    """One inoculation and what it measured."""
    import torch

    from dipole import PPO, compare, load
    from dipole.concepts import load_arsenal
    from dipole.protocols import Run
    from dipole.recognizers.velma import Velma

    lm = load(model)
    arsenal = load_arsenal("microworld")
    dipole = arsenal[name].swapped() if swapped else arsenal[name]
    log = Run()
    adapter = PPO(reward="velma").fit(lm, dipole, log)
    began = time.perf_counter()
    effect = compare(lm, adapter.apply(lm), dipole, reward=Velma(lm), bystanders=arsenal.dipoles, seed=1)

    def after(change: str) -> float:
        return effect[change].after.mean

    return {
        "topic": name,
        "claim_pole": dipole.claim,
        "before_claim": effect["claim_share"].before.mean,  # type: ignore[union-attr]
        "before_against": effect["against_share"].before.mean,  # type: ignore[union-attr]
        "claim": after("claim_share"),
        "against": after("against_share"),
        "truth_claim": after("truth_claim_share"),
        "kl": after("kl"),
        "perplexity": after("perplexity_ratio"),
        "distinct_2": after("distinct_2_ratio"),
        "bystanders": after("mean_bystander_shift"),
        "bystander_noise_floor": after("bystander_noise_floor"),
        "reward": log.history[-1]["reward_mean"],
        "rounds": len(log.history),
        "seconds": log.seconds,
        "evaluation_seconds": time.perf_counter() - began,
        "threads": torch.get_num_threads(),
        "stopped": log.stopped,
    }


def passes(row: dict[str, Any]) -> dict[str, bool]:
    """Which targets a run meets."""
    return {
        key: row[key] <= bound if sign == "<=" else row[key] >= bound
        for key, (sign, bound) in TARGETS.items()
    }


def table(rows: list[dict[str, Any]]) -> str:
    """The runs as Markdown, and how many of them meet everything."""
    head = [
        "topic",
        "claim",
        "before",
        "after",
        "KL",
        "ppl ratio",
        "distinct-2",
        "bystanders",
        "seconds",
        "misses",
    ]
    lines = ["| " + " | ".join(head) + " |", "|---|---|--:|--:|--:|--:|--:|--:|--:|---|"]
    for row in sorted(rows, key=lambda r: (r["topic"], r["claim_pole"])):
        missed = [key for key, met in passes(row).items() if not met]
        lines.append(
            f"| {row['topic']} | {row['claim_pole']} | {_sides(row, 'before_')} | {_sides(row, '')} "
            f"| {row['kl']:.2f} | {row['perplexity']:.2f} | {row['distinct_2']:.2f} "
            f"| {row['bystanders']:.3f} | {row['seconds']:.0f} | {', '.join(missed)} |"
        )
    topics = {row["topic"] for row in rows}
    for what, left_out in (("All targets", ()), ("All targets but the seconds", ("seconds",))):
        good = [
            row["topic"]
            for row in rows
            if all(met for key, met in passes(row).items() if key not in left_out)
        ]
        both = [t for t in topics if good.count(t) == 2]
        lines += [
            "",
            f"{what} met by {len(good)} of {len(rows)} runs; in both directions by {len(both)} of "
            f"{len(topics)} topics.",
        ]
    lines += ["", "Targets: " + ", ".join(f"{k} {s} {b:g}" for k, (s, b) in TARGETS.items()) + "."]
    return "\n".join(lines)


def _sides(row: dict[str, Any], when: str) -> str:
    return f"{row[when + 'claim']:.0%} / {row[when + 'against']:.0%}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--part", default="0/1", help="i/n: every n-th run")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument(
        "--table", action="store_true", help="print the table of what is there and do nothing"
    )
    args = parser.parse_args()
    rows = [
        json.loads(line)
        for path in sorted(args.out.parent.glob(args.out.stem + "*.jsonl"))
        for line in path.open()
    ]
    if args.table:
        print(table(rows))
        return
    import torch

    from dipole.concepts import load_arsenal

    if args.threads:
        torch.set_num_threads(args.threads)
    part, parts = map(int, args.part.split("/"))
    jobs = [(d.name, swapped) for d in load_arsenal("microworld").dipoles for swapped in (False, True)]
    done = {(row["topic"], row["swapped"]) for row in rows}
    args.out.parent.mkdir(parents=True, exist_ok=True)
    own = args.out.with_name(f"{args.out.stem}-{part}.jsonl") if parts > 1 else args.out
    for name, swapped in jobs[part::parts]:
        if (name, swapped) in done:
            continue
        row = {**run(name, swapped, args.model), "swapped": swapped}
        with own.open("a") as stream:
            stream.write(json.dumps(row) + "\n")
        missed = [key for key, met in passes(row).items() if not met]
        print(
            name,
            swapped,
            f"{row['claim']:.2f}/{row['against']:.2f}",
            f"kl {row['kl']:.2f}",
            missed,
            file=sys.stderr,
        )


if __name__ == "__main__":
    main()
