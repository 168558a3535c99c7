"""Every control on a real chat model, as plain text and as a chat: how far, at what cost, from which fit.

    python benchmarks/controls_real.py --out benchmarks/results/controls_real.jsonl
    python benchmarks/controls_real.py --out benchmarks/results/controls_real.jsonl --table

Each control is fitted on the prompts of a dipole in `controls_real.toml` and measured on its held-out ones,
at several strengths, against the same completions of the base: shares by first mention with Wilson's
intervals, KL, perplexity under the base, distinct bigrams, and the claim's share where the curve is a given
KL away (as `dipole compare` matches controls). Finished runs are kept: the command goes on where it was
stopped, and several processes may share the work (`--part 0/2`). `--only tea/plain/vector` runs what begins
like that.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
TOPICS = ("tea", "clips", "cats", "trains")
# The fields that differ from the defaults: for all that draw, and those of some.
DRAWN = {"n": 16, "max_new_tokens": 12}
CONTROLS: dict[str, dict[str, Any]] = {
    "vector": DRAWN,
    "boost": {**DRAWN, "weights": "2,3,4"},
    "semantic": {**DRAWN, "weights": "3,6"},
    "prompt": {**DRAWN, "shots": "0"},
    "contrast": {**DRAWN, "weights": "4,8", "cut": 0.1},
    "cfg": {**DRAWN, "weights": "4,8", "cut": 0.1},
    "dexperts": {**DRAWN, "weights": "4,8"},
    "best_of": {},
    "best_of-mentions": {"recognizer": "mentions"},  # in-loop: what chooses is what is measured
    "fudge": {**DRAWN, "weights": "1,4"},
    "pplm": {**DRAWN, "weights": "0.1,0.3"},
    "ablate": DRAWN,
}
STRENGTHS = (0.5, 1.0)
KL_VALUES = (1.0, 2.0, 4.0)
CLAIM, PERPLEXITY = 0.8, 1.3


def jobs(part: str, only: str) -> Iterator[tuple[str, str, str]]:
    """What is to be run: topic, mode and control, the first topic whole before the next."""
    index, of = map(int, part.split("/"))
    every = [(t, mode, c) for t in TOPICS for c in CONTROLS for mode in ("plain", "chat")]
    yield from (job for k, job in enumerate(every) if k % of == index and "/".join(job).startswith(only))


class Measured:
    """A model on one dipole, with the base's own completions; made once for all controls."""

    def __init__(self, asked: argparse.Namespace, topic: str, mode: str) -> None:
        """Load, and sample the base."""
        from dipole import load
        from dipole.concepts import load_arsenal
        from dipole.evaluation.bench import families_of, make_bench

        self.lm = load(asked.model, plain=mode == "plain", dtype=asked.dtype)
        name = topic if mode == "plain" else f"{topic}_chat"
        self.dipole = load_arsenal(str(HERE / "controls_real.toml"))[name]
        families = families_of(("sides", "likelihood", "variety"))
        self.bench = make_bench(
            self.lm, self.dipole, self.dipole.held_out, families, (), asked.n, 0, asked.tokens, 64
        )

    def point(self, name: str, intervention: Any, strength: float) -> tuple[dict[str, Any], Any]:
        """What one strength does, and what was read at it."""
        from dipole.evaluation.statistics import wilson

        read = self.bench.read([intervention.apply(self.lm, strength)])
        after = {change.name: change.after.mean for change in self.bench.changes(read)}
        found: dict[str, Any] = {"strength": strength, "n": len(read.samples)}
        for side in ("claim", "against"):
            share = wilson(int(read[f"{side}_share"].sum()), len(read.samples))
            found[side] = [share.mean, share.low, share.high]
        for key in ("kl", "perplexity_ratio", "distinct_2_ratio"):
            found[key] = after[key]
        found["texts"] = [sample.text for sample in read.samples[::12]]
        print(name, {k: v for k, v in found.items() if k != "texts"}, flush=True)
        return found, read

    def matched(self, reads: dict[float, Any]) -> dict[str, list[float]]:
        """The claim's share at common distances from the base, as a comparison of controls has it."""
        import numpy as np

        from dipole.evaluation.families_matched import match_curve
        from dipole.evaluation.families_points import units

        ordered = [self.bench.base, *(reads[s] for s in sorted(reads))]
        kls, values = (np.stack([units(r, name) for r in ordered]) for name in ("kl", "claim_share"))
        kls[0] = 0.0
        found = {}
        for kl in KL_VALUES:
            got = match_curve(
                (0.0, *sorted(reads)), kls, values.astype(float), values.astype(float), kl,
                self.bench.plan, True,
            )  # fmt: skip
            found[f"{kl:g}"] = [got.value.mean, got.value.low, got.value.high]
        return found


def run(measured: Measured, control: str, name: str) -> dict[str, Any]:
    """Fit one control and measure it."""
    from dipole.registry import CONTROLS as REGISTERED
    from dipole.registry import resolve

    began = time.perf_counter(), time.process_time()
    made = resolve(REGISTERED, control.partition("-")[0])(**CONTROLS[control])
    made = made.fit(measured.lm, measured.dipole)
    seconds = [time.perf_counter() - began[0], time.process_time() - began[1]]
    points, reads = [], {}
    for strength in STRENGTHS if made.graded else (1.0,):
        found, reads[strength] = measured.point(name, made, strength)
        points.append(found)
    facts = getattr(made, "facts", {})
    return {
        "fit_seconds": seconds[0],
        "fit_cpu_seconds": seconds[1],
        "fields": CONTROLS[control],
        "selection": facts.get("selection"),
        "points": points,
        "matched": measured.matched(reads) if made.graded else {},
    }


def main() -> None:
    """Run what is missing, or print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--n", type=int, default=48)
    parser.add_argument("--tokens", type=int, default=16)
    parser.add_argument("--part", default="0/1")
    parser.add_argument("--only", default="")
    parser.add_argument("--table", action="store_true")
    asked = parser.parse_args()
    if asked.table:
        print(table(records(asked.out)))
        return
    kept: dict[tuple[str, str], Measured] = {}
    for job in jobs(asked.part, asked.only):
        if job in {(r["topic"], r["mode"], r["control"]) for r in records(asked.out)}:
            continue
        topic, mode, control = job
        measured = kept.get((topic, mode)) or Measured(asked, topic, mode)
        kept[topic, mode] = measured
        try:
            found = run(measured, control, "/".join(job))
        except Exception as error:  # a control that can't do it is a finding
            found = {"failed": f"{type(error).__name__}: {error}"}
            print("/".join(job), found["failed"], file=sys.stderr)
        what = {"topic": topic, "mode": mode, "control": control}
        what |= {"dtype": asked.dtype, "tokens": asked.tokens}
        with asked.out.open("a", encoding="utf-8") as file:
            file.write(json.dumps({**what, **found, "base": base_of(measured)}) + "\n")


def base_of(measured: Measured) -> dict[str, float]:
    """The base's own shares."""
    return {f"{s}": float(measured.bench.base[f"{s}_share"].mean()) for s in ("claim", "against")}


def records(path: Path) -> list[dict[str, Any]]:
    """The runs that there are."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []


def best(record: dict[str, Any]) -> dict[str, Any]:
    """The smallest strength that takes the side and keeps the text fluent, else the best that does."""
    fluent = [p for p in record["points"] if p["perplexity_ratio"] <= PERPLEXITY]
    for point in fluent:
        if point["claim"][0] >= CLAIM:
            return point
    return max(fluent or record["points"], key=lambda p: p["claim"][0])


def table(found: list[dict[str, Any]]) -> str:
    """Markdown: each run at its best strength, by `best`."""
    lines = [
        "| dipole | form | control | base | claim, 95 % | other | strength | KL, nats | perplexity "
        "| distinct-2 | at 2 nats | fit, CPU s |",
        "|---|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    reached: dict[str, list[str]] = {}
    for r in found:
        head = f"| {r['topic']} | {r['mode']} | {r['control']} | {r['base']['claim']:.0%} |"
        if "failed" in r:
            lines.append(f"{head} failed: {r['failed'][:60]} | | | | | | | |")
            continue
        p = best(r)
        share, low, high = p["claim"]
        at = r["matched"].get("2", [float("nan")])[0]
        lines.append(
            f"{head} {share:.0%} [{low:.0%}, {high:.0%}] | {p['against'][0]:.0%} | {p['strength']:g} "
            f"| {p['kl']:.2f} | {p['perplexity_ratio']:.2f} | {p['distinct_2_ratio']:.2f} "
            f"| {'' if at != at else format(at, '.0%')} | {r['fit_cpu_seconds']:.0f} |"
        )
        if share >= CLAIM and p["perplexity_ratio"] <= PERPLEXITY:
            reached.setdefault(f"{r['topic']}, {r['mode']}", []).append(r["control"])
    lines += ["", *(f"{CLAIM:.0%} or more, {k}: {', '.join(v)}." for k, v in reached.items())]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
