"""The command `python -m dipole.microworld.judge`: agreement of the judge with the truth, form by form."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dipole.files.reader import parse_json
from dipole.microworld import judge
from dipole.microworld.negations import opposites
from dipole.microworld.stories import has_crime_words
from dipole.microworld.truth import Document, Truth


@dataclass(frozen=True)
class Agreement:
    """What the judge found in the documents of one form (counts)."""

    documents: int
    agreeing: int
    sentences: int
    grammatical: int


def agrees(document: Document) -> bool:
    """Whether the judge reads from the text what the truth says."""
    text, truth = document.text, document.truth
    form, parts = truth["form"], judge.fields(document.text)
    if form in ("question", "judgement"):
        return bool(
            judge.answer(parts.get("Text", ""), parts["Question"]) == truth["answer"] == parts["Answer"]
        )
    if form == "interview":
        text, *asked = _interview(text)
        return bool([judge.answer(text, q) for q in asked[::2]] == truth["answers"] == asked[1::2])
    if form == "negation":
        return bool(opposites()[parts["Statement"]] == parts["Opposite"] == truth["opposite"])
    if form == "revision":
        (topic, side), *_ = truth["stances"].items()
        found = judge.stance(parts["Text"], topic), judge.stance(parts["Revision"], topic)
        return found == (side, truth["revised"])
    return _told_agrees(text, truth)


def _interview(text: str) -> list[str]:
    """The text, then every question and its answer in turn."""
    return [piece.strip() for piece in judge.LABEL.split(text)[2::2]]


def _told_agrees(text: str, truth: Truth) -> bool:
    if "stances" in truth:
        return all(judge.stance(text, topic) == side for topic, side in truth["stances"].items())
    if judge.genre(text) != truth["genre"]:
        return False
    found = judge.is_detective(text), has_crime_words(text)
    return "crime_words" not in truth or found == (truth["detective_plot"], truth["crime_words"])


def compare(documents: Sequence[Document]) -> dict[str, Agreement]:
    """The agreement of the judge with the truth, by form."""
    result = {}
    for form in sorted({d.truth["form"] for d in documents}):
        chosen = [d for d in documents if d.truth["form"] == form]
        good, total = judge.grammatical_share(d.text for d in chosen)
        result[form] = Agreement(len(chosen), sum(map(agrees, chosen)), total, good)
    return result


def _load(path: Path) -> list[Document]:
    documents = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            content = parse_json(line, finite=False)
            document = Document(content["text"], content["truth"])
            agrees(document)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ValueError(
                f"{path}, line {number} is not a document with text and truth ({error!r})."
            ) from error
        documents.append(document)
    if not documents:
        raise ValueError(f"{path} holds no documents.")
    return documents


def main(argv: list[str] | None = None) -> int:
    """The command; 2 if the file cannot be judged."""
    parser = argparse.ArgumentParser(prog="python -m dipole.microworld.judge", description=judge.__doc__)
    parser.add_argument("path", type=Path, help="documents, one JSON object a line, as `write` writes them")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args(argv)
    try:
        found = compare(_load(options.path))
    except (OSError, ValueError) as error:
        print(f"Cannot judge {options.path}: {error}", file=sys.stderr)
        return 2
    if options.json:
        print(json.dumps({form: vars(a) for form, a in found.items()}, indent=1))
        return 0
    print(f"{'form':<12}{'documents':>10}{'agreement':>11}{'sentences':>11}{'grammatical':>13}")
    for form, a in found.items():
        print(
            f"{form:<12}{a.documents:>10}{a.agreeing / a.documents:>11.1%}"
            f"{a.sentences:>11}{a.grammatical / a.sentences:>13.1%}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
