"""Documents to read: a folder of text files, or a JSONL, CSV or TSV file, streamed and named one by one."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dipole.corpora.passages import passages
from dipole.corpora.sources import (
    FORMS,
    TABLE,
    TEXT,
    Skipped,
    form_of,
    json_rows,
    open_text,
    wrong_file,
    wrong_text,
)
from dipole.corpora.tables import header_of, rows_of, table_rows
from dipole.files.paths import given_file, given_path
from dipole.types import UserError

_YES, _NO = ("1", "true", "yes"), ("0", "false", "no")
__all__ = ["Corpus", "Document", "Skipped", "label_of", "open_corpus", "owner_of", "read_labels"]


@dataclass(frozen=True)
class Document:
    """A text with a name that is the same each time the corpus is read.

    Attributes:
        id: Path inside the folder, the `id` of a row, or `file:line`; `…#k` for its k-th passage, from 0.
        text: What it says; never blank.
        prompt: What it answers, where the row says so, in its `prompt`; empty elsewhere.
        reward: How good it is, where the row says so, in its `reward`; None elsewhere, NaN for no number.
    """

    id: str
    text: str
    prompt: str = ""
    reward: float | None = None


class Corpus:
    """Documents that can be read again and again; one file, or row, is in memory at a time.

    Attributes:
        path: Where the documents come from.
        words: About how many words a passage has; None where documents are not cut.
        skipped: What the last whole iteration left out: named, never fatal unless nothing is left.
    """

    def __init__(self, path: Path, words: int | None, read: Callable[[list[Skipped]], Iterator[Document]]):
        self.path, self.words = path, words
        self.skipped: tuple[Skipped, ...] = ()
        self._read = read

    def __iter__(self) -> Iterator[Document]:
        """The documents, in the same order each time.

        Raises:
            UserError: Nothing is left, or the file can't be read any more.
        """
        skipped: list[Skipped] = []
        found = False
        for document in self._read(skipped):
            found = True
            yield document
        self.skipped = tuple(skipped)
        if not found:
            raise UserError(_nothing(self.path, skipped))


def open_corpus(path: str | Path, words: int | None = None) -> Corpus:
    """A corpus, checked as far as can be without reading it.

    Args:
        path: A folder with .txt files (in folders of it too; each file is a document), one such file, a JSONL
            file whose objects have a `text`, or a CSV or TSV file with a column `text`. `.gz` may follow. A
            JSONL object or a row may have an `id`. Hidden files are not seen.
        words: Cut each document into passages of about so many words; None leaves them whole.

    Raises:
        UserError: There is no such path or no text file in it, its form is not known, a table has no column
            `text`, or `words` is below 1.
    """
    place = given_path(path, "The corpus")
    if words is not None and words < 1:
        raise UserError(f"A passage must have at least 1 word, and {words} was asked for.")
    if not place.exists():
        raise UserError(f"There is no corpus at {str(path)!r}; give {FORMS}.")
    if place.is_dir():
        closed: list[Skipped] = []
        if not any(form_of(file) == TEXT for file in _files(place, closed)):
            if closed:
                raise UserError(f"The folder {path} or a part of it {closed[0].reason}; give {FORMS}.")
            raise UserError(f"The folder {path} holds no .txt or .txt.gz file; give {FORMS}.")
        return Corpus(place, words, lambda skipped: _folder(place, words, skipped))
    given_file(place, "The corpus")
    form = form_of(place)
    if form is None:
        raise UserError(f"{path} is of no form that can be read as a corpus; give {FORMS}.")
    if form == TEXT:
        return Corpus(place, words, lambda skipped: _text_file(place, place.name, words, skipped))
    if form == TABLE:
        header_of(place, ("text",))
    rows = table_rows if form == TABLE else json_rows
    return Corpus(place, words, lambda skipped: _documents(place, rows, words, skipped))


def read_labels(path: str | Path) -> dict[str, bool]:
    """What is true of each document: a CSV or TSV file with the columns `id` and `label`.

    A label is 1, true or yes, or 0, false or no. `label_of` looks a document up.

    Raises:
        UserError: The file can't be read, has no such columns or no row, a label is none of these, or an id
            stands there twice with both labels; it names the line.
    """
    place = given_path(path, "The file of labels")
    if not place.exists() or form_of(place) != TABLE:
        raise UserError(
            f"There are no labels at {str(path)!r}; give a .csv or .tsv file with columns id, label."
        )
    given_file(place, "The file of labels")
    labels: dict[str, bool] = {}
    for line, key, written in _labelled(place):
        label = written.casefold() in _YES
        if not key or (not label and written.casefold() not in _NO):
            raise UserError(
                f"Line {line} of {path} has the id {key!r} and the label {written!r}; wanted an id, and a "
                "label that is 1 or 0, true or false, yes or no."
            )
        if labels.setdefault(key, label) != label:
            raise UserError(f"{path} labels {key!r} both 1 and 0 (again in line {line}); keep one of them.")
    if not labels:
        raise UserError(f"{path} has columns but no row; give a label for each document.")
    return labels


def _labelled(file: Path) -> Iterator[tuple[int, str, str]]:
    header = header_of(file, ("id", "label"))
    for row in rows_of(file, header):
        if row.wrong:
            raise UserError(f"Line {row.line} of {file} {row.wrong}.")
        key, written = ((row.cell(header.columns[name]) or "").strip() for name in ("id", "label"))
        if (wrong := wrong_text(key)) not in (None, "is empty"):
            raise UserError(f"Line {row.line} of {file} has an id that {wrong}; convert the file to UTF-8.")
        yield row.line, key, written


def label_of(labels: Mapping[str, bool], document: str) -> bool | None:
    """The label of a document by its id; a passage `file#k` without one of its own has that of its file."""
    found = labels.get(document)
    return labels.get(owner_of(document)) if found is None else found


def owner_of(document: str) -> str:
    """What a document is part of, by its id: the file of a passage `file#k`, else itself."""
    owner, mark, number = document.rpartition("#")
    return owner if mark and owner and number.isdigit() else document


def _folder(folder: Path, words: int | None, skipped: list[Skipped]) -> Iterator[Document]:
    for file in _files(folder, skipped):
        name = file.relative_to(folder).as_posix()
        if form_of(file) != TEXT:
            skipped.append(Skipped(name, "is no .txt or .txt.gz file"))
        else:
            yield from _text_file(file, name, words, skipped)


def _files(folder: Path, skipped: list[Skipped]) -> Iterator[Path]:
    """Files that are not hidden, sorted within each folder; links to folders are not followed."""

    def closed(error: OSError) -> None:
        name = Path(error.filename).relative_to(folder).as_posix()
        skipped.append(Skipped(name, f"can't be read ({error.strerror})"))

    for place, folders, names in os.walk(folder, onerror=closed):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(place, name) for name in sorted(names) if not name.startswith("."))


def _text_file(file: Path, name: str, words: int | None, skipped: list[Skipped]) -> Iterator[Document]:
    # Read twice: what is no text must be known before its first passage is given away.
    wrong = wrong_file(file)
    if wrong:
        skipped.append(Skipped(name, wrong))
        return
    with open_text(file) as lines:
        if words is None:
            yield Document(name, lines.read())
            return
        for number, passage in enumerate(passages(lines, words)):
            yield Document(f"{name}#{number}", passage)


Rows = Callable[[Path, list[Skipped]], Iterator[tuple[str, str | None, Any, Any, Any]]]
"""Line name, id, text, prompt and reward of each row of a file."""


def _documents(file: Path, rows: Rows, words: int | None, skipped: list[Skipped]) -> Iterator[Document]:
    seen: set[str] = set()
    for where, given, text, prompt, reward in rows(file, skipped):
        name = given or where
        wrong = wrong_text(text)
        if wrong is None and given:
            wrong = f"has the id {given!r}, which came before" if given in seen else None
            seen.add(given)
            name = where if wrong else name
        if wrong:
            skipped.append(Skipped(name, wrong))
        elif words is None:
            yield Document(name, text, prompt if isinstance(prompt, str) else "", _reward(reward))
        else:
            cut = passages(text.splitlines(), words)
            yield from (Document(f"{name}#{number}", passage) for number, passage in enumerate(cut))


def _reward(value: Any) -> float | None:
    if value is None or value == "":
        return None
    try:
        return math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan


def _nothing(path: Path, skipped: list[Skipped]) -> str:
    if not skipped:
        return f"There is no text in {path}; give {FORMS}."
    first = skipped[0]
    which = "" if len(skipped) == 1 else f"all {len(skipped)} that it has were skipped; the first, "
    return f"There is no text to use in {path}: {which}{first.name}, {first.reason}."
