"""Commands that are killed at random: the old result or the new one is there, whole, and nothing else."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from cli.conftest import FAST, POLES

KILLER = Path(__file__).with_name("killer.py")
WHO, WHAT = ("Ann", "Bob", "Eve"), ("cat", "tea", "key", "sea")
TEXTS = [f"{who} found a clue about the {what}." for who in WHO for what in WHAT]
# What says when it was made, or how long it took.
TIMED = ("report.html", "report.md", "README.md", "history.jsonl", "topics.html", "checkpoint.safetensors")
TIMED_KEYS = ("facts", "training", "command", "versions", "fit_seconds", "time_ratios")


class Killer:
    """The process that forks and kills commands."""

    def __init__(self, log: Path) -> None:
        self.log = log
        self.process = subprocess.Popen(
            [sys.executable, str(KILLER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self, *arguments: object, number: int = signal.SIGKILL, **how: float) -> dict[str, Any]:
        """Run a command, and send it a signal after so many `seconds` or at that `moment`."""
        request = {"arguments": [*map(str, arguments)], "signal": number, "log": str(self.log), **how}
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        found: dict[str, Any] = json.loads(self.process.stdout.readline())
        assert found["code"] != 70, self.said()
        return found

    def said(self) -> str:
        return self.log.read_text()

    def moments(self) -> int:
        return int(Path(f"{self.log}.moments").read_text())


@pytest.fixture(scope="module")
def killer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Killer]:
    made = Killer(tmp_path_factory.mktemp("killer") / "log")
    yield made
    made.process.communicate()
    assert made.process.returncode == 0


@dataclass
class Job:
    """A command that writes, and what it writes for two seeds.

    Attributes:
        arguments: All but the seed and `--overwrite`.
        out: Where it writes.
        results: What is there after each seed.
        seconds: How long it takes.
        moments: How often it changes the file system.
    """

    arguments: tuple[object, ...]
    out: Path
    results: list[dict[str, str]] = field(default_factory=list)
    seconds: float = 0.0
    moments: int = 0

    def command(self, seed: int) -> tuple[object, ...]:
        return (*self.arguments, "--seed", seed)


def result(out: Path) -> dict[str, str]:
    """Digests of what lies there, of those files alone that two runs of a seed write alike."""
    paths = [path for path in sorted(out.rglob("*")) if path.is_file()]
    names = {path: str(path.relative_to(out)) for path in paths}
    return {
        name: digest(path) for path, name in names.items() if not name.startswith((".dipole-", "tensorboard"))
    }


def digest(path: Path) -> str:
    if path.name in TIMED:
        return "there"
    if path.suffix != ".json":
        return hashlib.sha256(path.read_bytes()).hexdigest()
    content = json.loads(path.read_text())
    if path.name == "manifest.json":
        return f"seed {content.get('seed', content.get('settings', {}).get('seed'))}"
    return json.dumps(untimed(content))


def untimed(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: untimed(part) for name, part in value.items() if name not in TIMED_KEYS}
    return [untimed(part) for part in value] if isinstance(value, list) else value


def jobs(model: Path, folder: Path) -> dict[str, Job]:
    corpus = folder / "docs.jsonl"
    corpus.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS * 4))
    small = ("--model", model, "--max-new-tokens", 4, "--bystanders", "none", "--quiet")
    poles = ("--claim", *POLES)
    measured = (*poles, *small, "-n", 4, "--repeats", 1)
    made = {
        "fit": ("fit", "vector", *poles, "--model", model, "--quiet"),
        "inoculate": ("inoculate", *POLES, *FAST, "--model", model, "--quiet"),
        "compare": ("compare", "prompt", *measured),
        "sweep": ("sweep", "vector", *measured, "--strengths", "0,1"),
        "topics": ("topics", corpus, "--topics", 2, "--iterations", 4, "--quiet"),
    }
    return {
        name: Job((*arguments, "--out", folder / name / "out"), folder / name / "out")
        for name, arguments in made.items()
    }


def prepared(job: Job, killer: Killer) -> Job:
    assert killer.run(*job.command(1), here=True)["code"] == 0
    for seed in (1, 0):
        shutil.rmtree(job.out.parent, ignore_errors=True)
        job.out.parent.mkdir()
        done = killer.run(*job.command(seed))
        assert done["code"] == 0, killer.said()
        job.results.insert(0, result(job.out))
    assert killer.run(*job.command(1), "--overwrite")["code"] == 0, killer.said()
    job.moments = killer.moments()
    job.seconds = done["seconds"]
    assert result(job.out) == job.results[1]
    assert killer.run(*job.command(0), "--overwrite")["code"] == 0, killer.said()
    assert result(job.out) == job.results[0] != job.results[1]
    assert os.listdir(job.out.parent) == [job.out.name]
    return job


def kill_while_replacing(job: Job, killer: Killer, draw: random.Random) -> str:
    """What is there afterwards: old or new."""
    mine = job.out / "notes.txt"
    mine.write_text("mine")
    number = draw.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM])
    if draw.random() < 0.5:
        how: dict[str, float] = {"seconds": draw.uniform(0, 1.1 * job.seconds)}
    else:
        how = {"moment": draw.randint(1, job.moments)}
    done = killer.run(*job.command(1), "--overwrite", number=number, **how)
    assert done["code"] in (0, -number, 143), (how, killer.said())
    if done["code"] == 143:
        assert os.listdir(job.out.parent) == [job.out.name], (how, killer.said())
    after = result(job.out)
    after.pop("notes.txt", None)
    assert after in job.results, (how, number)
    refused = killer.run(*job.command(1))  # the next start, which finds a run there
    assert refused["code"] == 2
    assert "already holds a run" in killer.said()
    assert os.listdir(job.out.parent) == [job.out.name], how
    assert mine.read_text() == "mine"
    after = result(job.out)
    after.pop("notes.txt")
    assert after in job.results, (how, number)
    if after == job.results[1]:
        assert killer.run(*job.command(0), "--overwrite")["code"] == 0, killer.said()
        return "new"
    return "old"


def kill_a_first_run(job: Job, killer: Killer, draw: random.Random) -> str:
    """What is there afterwards: nothing, a run that is resumed, or the result."""
    shutil.rmtree(job.out)
    how: dict[str, float] = (
        {"seconds": draw.uniform(0, 1.1 * job.seconds)}
        if draw.random() < 0.5
        else {"moment": draw.randint(1, job.moments)}
    )
    number = draw.choice([signal.SIGKILL, signal.SIGTERM])
    done = killer.run(*job.command(0), number=number, **how)
    assert done["code"] in (0, -number, 143), (how, killer.said())
    found = "nothing"
    if job.out.exists() and result(job.out) == job.results[0]:
        found = "new"
    elif job.out.exists() and any(job.out.iterdir()):
        assert job.arguments[0] == "inoculate"
        found = "resumed"
        if (job.out / "manifest.json").exists():
            again = killer.run("inoculate", "--resume", "--out", job.out, "--quiet")
        else:
            again = killer.run(*job.command(0), "--overwrite")
        assert again["code"] == 0, (how, killer.said())
    else:
        assert killer.run(*job.command(0))["code"] == 0, (how, killer.said())
    assert killer.run(*job.command(0))["code"] == 2
    assert result(job.out) == job.results[0], how
    assert os.listdir(job.out.parent) == [job.out.name], how
    return found


def kills(
    names: tuple[str, ...], replacing: int, first: int, seed: int, model: Path, folder: Path, killer: Killer
) -> dict[str, int]:
    draw = random.Random(seed)
    made = jobs(model, folder)
    ready = [prepared(made[name], killer) for name in names]
    seen: dict[str, int] = {}
    for number in range(replacing + first):
        job = ready[number % len(ready)]
        end = (kill_while_replacing if number < replacing else kill_a_first_run)(job, killer, draw)
        key = f"{'replacing' if number < replacing else 'first'}: {end}"
        seen[key] = seen.get(key, 0) + 1
    print(seen)
    return seen


@pytest.mark.slow
def test_twenty_kills(model: Path, tmp_path: Path, killer: Killer) -> None:
    """Both ends come about, so the moments are spread over the whole command."""
    seen = kills(("fit", "inoculate", "compare", "sweep", "topics"), 12, 8, 0, model, tmp_path, killer)
    assert sum(seen.values()) == 20
    assert seen["replacing: old"] > 0
    assert seen["replacing: new"] > 0
