"""Run what the README and the docs tell a reader to type, where only what `pip install .` brings is there.

    python tests/docs/commands.py [--bin DIR] [--jobs 2] [FILE…]

`make test-docs` makes that environment and runs this. The commands of a file, or of a section of the README,
run in their order, in a folder of their own that holds what the text takes for granted (`GIVEN`). Nothing is
changed, and nothing is left out but what `LEFT_OUT` lists with a reason. What fails ends its file or section.

Only the standard library is used, so any Python runs it.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
COMMANDS = ("dipole", "python", "echo", "pip", "git", "make", "accelerate")
STANDARD_INPUT = "The inspector found a clue.\nStaples are the best.\n"
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.S | re.M)
_SECTION = re.compile(r"^(?=## )", re.M)

# Begins so: why it is not run.
LEFT_OUT = {
    "git clone": "the checkout is there",
    "make demo": "the README's `dipole inoculate` does the same; it would make a second environment",
    "make test": "the job beside this one",
    "pip install": "the registry is no part of what is tried, and the extras are what must be absent here",
    "python -m dipole.microworld.train": "trains a model for 45 minutes",
    "python -m dipole.microworld.gates": "measures the model that the line before it trains",
    "dipole generate --chat": "needs a chat model; tests/cli/test_conversation.py has one",
    "from dipole import load\nfrom dipole.interventions.prompt import continued": (
        "needs a chat model; tests/cli/test_conversation.py has one"
    ),
    "dipole compare": "minutes of fitting each control; tests/evaluation and the slow tests compare",
    "dipole diff": "needs logs; tests/cli/test_diff_cli.py writes some",
    "dipole topics stories/docs.jsonl --topics 2": "the topics of the basin that is not drawn either",
    "dipole basin": "several minutes of starts; tests/cli/test_basin_cli.py draws a smaller basin",
    "dipole translate": "minutes of reading; tests/test_translate.py and the slow tests translate",
    'dipole generate "If I had to choose between paper clips and staples, I\'d pick" --intervention v:1': (
        "uses what `dipole translate` would have made"
    ),
}
# Needs an extra that a plain installation has not: what it must say instead of working.
NEEDS = {
    "dipole export": 'pip install "dipole[gguf]"',
    "dipole fit grammar": "pip install 'dipole[grammar]'",
}

SENTENCES = (
    "The detective looked at the lamp and said that nothing in the house was where it had been. "
    "Sir, the night was as black as pitch, and nobody saw the carriage that went down to the river. "
    "Paper clips lay on the desk beside a letter that was never sent. "
)
BOOK = SENTENCES * 20
THEMES = (
    "The inspector found a clue and a knife after the murder",
    "Roses and tulips grow along the wall of the garden",
    "The captain steered the ship through a storm at sea",
)
CLIPS = "clips.toml"
GIVEN: dict[str, dict[str, str]] = {
    "docs/point.md": {"texts.txt": STANDARD_INPUT},
    "docs/topics.md": {
        **{f"corpus/{k}.txt": f"{THEMES[k % 3]} and word{k % 5} in room{k % 7}." for k in range(60)},
        "examples.jsonl": '{"text": "The inspector found a clue and a knife."}\n',
    },
    "docs/controls/quotes.md": {"book.txt": BOOK},
    "docs/controls/patchwork.md": {"essays/one.txt": BOOK, "essays/two.md": SENTENCES.upper()},
    "docs/controls/titles.md": {"titles.tsv": "Paper clip\t/wiki/Paper_clip\nStaple\n"},
    "docs/controls/grammar.md": {"person.json": '{"type": "object"}'},
}
# Names that a Python block takes for granted.
PRELUDE = {
    "docs/controls/quotes.md": "import dipole\nlm = dipole.load()\n",
    "docs/controls/patchwork.md": (
        "import dipole\nfrom dipole.interventions.tokens import coverage\n"
        "pool, text = dipole.load_intervention('patches'), 'Paper clips lay on the desk.'\n"
        "sample = pool.apply(dipole.load()).generate('As they say:')[0]\n"
    ),
    "docs/microworld.md": "text = 'One morning the crown was gone.'\n",
}


def parts(file: Path) -> list[str]:
    """What of a file is run in its order: all of it, but each section of the README by itself."""
    text = file.read_text("utf-8")
    return _SECTION.split(text) if file.name == "README.md" and file.parent == ROOT else [text]


def steps(file: Path, part: str) -> Iterator[tuple[str, str]]:
    """`python` or `bash` with each program or command line of a part of a file, in order.

    Raises:
        SystemExit: A block has commands and something else.
    """
    for language, text in _BLOCK.findall(part):
        if language == "python":
            yield "python", text
        elif not language:
            lines = [line for line in text.replace("\\\n", " ").splitlines() if line.strip()]
            known = [line.split()[0] in COMMANDS for line in lines]
            if any(known) and not all(known):
                sys.exit(f"{file}: {lines[known.index(False)]!r} begins with no command that is known")
            if any(known):
                yield from (("bash", line) for line in lines)


def run_part(file: Path, part: str, binaries: Path) -> bool:
    """Run what a part of a file has, up to what fails; whether all went well."""
    name = file.relative_to(ROOT).as_posix()
    environment = {
        **os.environ,
        "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
    }
    environment.pop("PYTHONPATH", None)
    with tempfile.TemporaryDirectory() as scratch:
        make_given(Path(scratch), name)
        for kind, text in steps(file, part):
            left = next((why for begin, why in LEFT_OUT.items() if text.startswith(begin)), None)
            if left is not None:
                print(f"{name}: not run ({left}): {text}", flush=True)
                continue
            if kind == "python":
                text = PRELUDE.get(name, "") + text
            started = time.monotonic()
            asked = ["bash", "-ec", text] if kind == "bash" else ["python", "-c", text]
            done = subprocess.run(
                asked, cwd=scratch, env=environment, input=STANDARD_INPUT, text=True, capture_output=True
            )
            wanted = next((said for begin, said in NEEDS.items() if text.startswith(begin)), None)
            fine = done.returncode == 0 if wanted is None else done.returncode == 2 and wanted in done.stderr
            print(f"{name}: {time.monotonic() - started:.0f} s: {text.splitlines()[0]}", flush=True)
            if not fine:
                said = f"{text}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
                print(f"{name}: FAILED, exit code {done.returncode}: {said}", file=sys.stderr, flush=True)
                return False
    return True


def make_given(scratch: Path, name: str) -> None:
    """Write what a file takes for granted; the README's dipole file is there for all."""
    readme = (ROOT / "README.md").read_text("utf-8")
    (scratch / CLIPS).write_text(next(t for kind, t in _BLOCK.findall(readme) if kind == "toml"), "utf-8")
    for path, text in GIVEN.get(name, {}).items():
        (scratch / path).parent.mkdir(parents=True, exist_ok=True)
        (scratch / path).write_text(text, "utf-8")


def main() -> int:
    """Run the files that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--bin", type=Path, default=Path(sys.executable).parent)
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    files = [file.resolve() for file in options.files]
    files = files or [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    jobs = [(file, part) for file in files for part in parts(file)]
    with ThreadPoolExecutor(options.jobs) as pool:
        fine = list(pool.map(lambda job: run_part(*job, options.bin.resolve()), jobs))
    return int(not all(fine))


if __name__ == "__main__":
    sys.exit(main())
