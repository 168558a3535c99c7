"""What a bundled model must be able to do, on held-out documents: `python -m dipole.microworld.gates DIR`.

Prints a table, writes the numbers into the model card DIR/README.md, and ends with exit code 1 if a gate is
missed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from dipole.microworld import judge, stories, tasks
from dipole.microworld._card import write_card
from dipole.microworld._measure import Model
from dipole.microworld._plots import GENRES
from dipole.microworld.documents import generate
from dipole.microworld.negations import opposites, statements
from dipole.microworld.topics import TOPICS, choice_prompts, get_topic
from dipole.microworld.truth import Document

SEED = "gates"


@dataclass(frozen=True)
class Result:
    """One measured number.

    Attributes:
        name: what was measured.
        value: the number; a share unless the name says otherwise.
        n: size of the sample.
        gate: what the value must reach; None if it is only reported.
    """

    name: str
    value: float
    n: int
    gate: float | None = None

    @property
    def passed(self) -> bool:
        """Whether the gate is met, or there is none."""
        return self.gate is None or self.value >= self.gate


def share(verdicts: Sequence[bool]) -> float:
    """Share of true verdicts."""
    return sum(verdicts) / len(verdicts)


def without_poles(document: Document, topic: str) -> str | None:
    """The document without its pole sentences; None if what is left does not reveal the stance."""
    kept = [s for s in judge.sentences(document.text) if not any(r.kind == "pole" for r in judge.read(s))]
    text = " ".join(kept)
    return text if judge.stance(text, topic) == document.truth["stances"][topic] else None


def velma(model: Model, n: int) -> list[Result]:
    """Whether VELMA recovers the stance of held-out authors from texts without poles."""
    rng = random.Random(SEED)
    documents = generate(n, SEED, held_out=True, forms={"choice": 0.4, "opinion": 0.6})
    texts, poles, expected, clear = [], [], [], []
    for document in documents:
        topic = rng.choice(list(document.truth["stances"]))
        text = without_poles(document, topic)
        if text is None:
            continue
        item, best_first = rng.randrange(2), rng.random() < 0.5
        pole = get_topic(topic).items[item]
        stance = document.truth["stances"][topic]
        texts.append(text)
        poles.append((pole.best, pole.worst) if best_first else (pole.worst, pole.best))
        expected.append(stance * (1 if item == 0 else -1) * (1 if best_first else -1))
        clear.append(document.truth["clear"])
    right = [odds * sign > 0 for odds, sign in zip(model.log_odds(texts, poles), expected, strict=True)]
    groups = {
        wanted: [r for r, c in zip(right, clear, strict=True) if c == wanted] for wanted in (True, False)
    }
    return [
        Result("VELMA finds the stance, clear documents", share(groups[True]), len(groups[True]), 0.95),
        Result("VELMA finds the stance, all documents", share(right), len(right), 0.88),
        Result("VELMA finds the stance, unclear documents", share(groups[False]), len(groups[False])),
    ]


def velma_after_choice(model: Model, _: int) -> list[Result]:
    """How decided VELMA is right after a choice of one sentence, with and without a reason."""
    texts, poles, signs = [], [], []
    for topic in TOPICS:
        for i, item in enumerate(topic.items):
            prompt = choice_prompts(topic)[i]
            reason = f" {item.forms['They']} {item.forms['are']} {item.adjectives[0][0]}."
            for text in (f"{prompt} {item.name}.", f"{prompt} {item.name}.{reason}"):
                for side, claimed in enumerate(topic.items):
                    texts.append(text)
                    poles.append((claimed.best, claimed.worst))
                    signs.append(1 if side == i else -1)
    odds = [o * s for o, s in zip(model.log_odds(texts, poles), signs, strict=True)]
    return [
        Result("VELMA finds the side of a one-sentence choice", share([o > 0 for o in odds]), len(odds)),
        Result("log-odds towards it, mean, nats", sum(odds) / len(odds), len(odds)),
    ]


def choices(model: Model, n: int) -> list[Result]:
    """Balance, consistency, length and grammar of completions of neutral choice prompts."""
    balanced, consistent, ended, decided, good, total = 0, [], [], [], 0, 0
    per_prompt = max(1, n // 32)
    for topic in TOPICS:
        prompts = choice_prompts(topic) * per_prompt
        sides: list[int | None] = []
        for prompt, (text, done, tokens) in zip(prompts, model.complete(prompts, 40), strict=True):
            said = judge.sentences(prompt + text)
            side = judge.stance(said[0], topic)
            sides.append(side)
            ended.append(done and tokens <= 28)
            more = [
                r.stance == side
                for s in said[1:]
                for r in judge.read(s)
                if r.stance and r.topic == topic.name
            ]
            consistent += more if side else []
            complete = said if done else said[:-1]
            good, total = good + sum(map(judge.is_grammatical, complete)), total + len(complete)
        taken = [side for side in sides if side]
        decided += [side is not None for side in sides]
        balanced += 0.3 <= share([side == 1 for side in taken]) <= 0.7
    return [
        Result(
            f"topics of {len(TOPICS)} with each side at 30-70 % of choices",
            balanced,
            len(TOPICS) * 32 * per_prompt,
            20,
        ),
        Result("choices that take a side", share(decided), len(decided)),
        Result("later sentences that agree with the choice", share(consistent), len(consistent)),
        Result("choices that end within 28 tokens", share(ended), len(ended)),
        Result("grammatical sentences after choice prompts", good / total, total, 0.95),
    ]


def free_running(model: Model, n: int) -> list[Result]:
    """Grammar of documents sampled from nothing."""
    good = total = 0
    for text, ended, _ in model.complete([""] * n, 200):
        said = judge.sentences(text)
        said = said if ended else said[:-1]
        good, total = good + sum(map(judge.is_grammatical, said)), total + len(said)
    return [Result("grammatical sentences, free-running", good / total, total, 0.95)]


def judgement_kind(document: Document) -> str:
    """What a judgement is of: a story, or a stance that is told of the asked item alone, or otherwise."""
    if "stances" not in document.truth:
        return "a story"
    parts = judge.fields(document.text)
    ((topic, _),) = document.truth["stances"].items()
    found = [r for said in judge.sentences(parts["Text"]) for r in judge.read(said) if r.topic == topic]
    told = {r.item if r.kind != "choice" else None for r in found}  # a choice names both items
    items = [item.name for item in get_topic(topic).items]
    asked = min((0, 1), key=lambda i: (parts["Question"].find(items[i]) + 1) or 999)
    return "a stance, text on the asked item alone" if told == {asked} else "a stance, other texts"


def judgements(model: Model, n: int) -> list[Result]:
    """Yes/no questions about held-out authors' texts and about stories."""
    right: dict[str, list[bool]] = defaultdict(list)
    documents = generate(n, SEED, held_out=True, forms={"judgement": 1.0})
    prompts = [d.text[: d.text.rindex("Answer:") + 7] for d in documents]
    scores = model.token_logprobs([(p, " " + a) for p in prompts for a in ("yes", "no")])
    for document, yes, no in zip(documents, scores[::2], scores[1::2], strict=True):
        said = "yes" if yes.sum() > no.sum() else "no"
        right[judgement_kind(document)].append(said == document.truth["answer"])
    everything = [verdict for verdicts in right.values() for verdict in verdicts]
    return [
        Result("yes/no judgements", share(everything), len(everything), 0.85),
        *(Result(f"yes/no judgements of {kind}", share(v), len(v)) for kind, v in sorted(right.items())),
    ]


def negations(model: Model, n: int) -> list[Result]:
    """Opposites of statements that no training document negates."""
    chosen = random.Random(SEED).sample(statements(held_out=True), n)
    found = model.complete([tasks.negation_prompt(s) for s, _ in chosen], 40, greedy=True)
    right = [text.strip() == opposites()[s] for (s, _), (text, _, _) in zip(chosen, found, strict=True)]
    return [Result("opposites of held-out statements, greedy", share(right), n, 0.90)]


def detective_stories(model: Model, n: int) -> list[Result]:
    """Whether stories have the plot that was asked for."""
    asked = model.complete(["Here is a detective story."] * n, 200)
    others = model.complete(
        [f"Here is {stories.genre_name(g)}." for g in GENRES if g != "detective"] * (n // 7), 200
    )
    return [
        Result(
            "detective stories with a detective plot", share([judge.is_detective(t) for t, _, _ in asked]), n
        ),
        Result(
            "other stories without one", share([not judge.is_detective(t) for t, _, _ in others]), len(others)
        ),
    ]


def cost(model: Model, n: int) -> list[Result]:
    """Bits per byte of held-out documents."""
    texts = [d.text for d in generate(n, SEED, held_out=True)]
    return [Result("bits per byte, held-out documents", model.bits_per_byte(texts), n)]


PARTS: tuple[tuple[Callable[[Model, int], list[Result]], int], ...] = (
    (velma, 1200), (velma_after_choice, 0), (choices, 96), (free_running, 384), (judgements, 500),
    (negations, 300), (detective_stories, 128), (cost, 500),
)  # fmt: skip
"""What is measured, with its sample size (for choices: each topic's)."""


def measure(folder: Path, scale: float = 1.0, seed: int = 0) -> list[Result]:
    """All results of the model in a folder; `scale` shrinks the samples."""
    model = Model.load(folder)
    torch.manual_seed(seed)
    return [result for part, n in PARTS for result in part(model, int(n * scale))]


def table(results: Sequence[Result]) -> list[tuple[str, str, str, str, str]]:
    """The results as rows of (name, value, n, gate, verdict)."""

    def show(r: Result, value: float) -> str:
        plain = r.name.startswith(("log-odds", "bits"))
        return f"{value:.0f}" if r.name.startswith("topics") else f"{value:.2f}" if plain else f"{value:.1%}"

    return [
        (r.name, show(r, r.value), str(r.n), "" if r.gate is None else "≥ " + show(r, r.gate),
         "" if r.gate is None else "pass" if r.passed else "FAIL")
        for r in results
    ]  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    """The command: 0 if all gates are met, 1 if not, 2 if there is no model."""
    parser = argparse.ArgumentParser(prog="python -m dipole.microworld.gates", description=__doc__)
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument(
        "--scale", type=float, default=1.0, help="share of the usual sample sizes, for a quick look"
    )
    parser.add_argument("--no-card", action="store_true", help="leave DIR/README.md as it is")
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    options = parser.parse_args(argv)
    if not (options.folder / "config.json").exists():
        print(f"{options.folder} holds no model (no config.json).", file=sys.stderr)
        return 2
    torch.set_num_threads(options.threads)
    results = measure(options.folder, options.scale)
    rows = table(results)
    if not options.no_card:
        write_card(options.folder, rows)
    if options.json:
        print(json.dumps([asdict(r) | {"passed": r.passed} for r in results], indent=1))
    else:
        for row in rows:
            print(f"{row[0]:<62}{row[1]:>8}{row[2]:>7}{row[3]:>10}  {row[4]}")
    return 0 if all(r.passed for r in results) else 1


if __name__ == "__main__":
    sys.exit(main())
