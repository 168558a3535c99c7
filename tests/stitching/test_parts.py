"""Which documents are fitted on, chosen on and reported on."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path
from typing import NamedTuple

import pytest

from dipole.corpora.corpus import open_corpus
from dipole.stitching.parts import FEW, PARTS, Split, Units


class Document(NamedTuple):
    id: str
    text: str


def passages(files: int, each: int = 40) -> list[Document]:
    return [Document(f"book{f}.txt#{k}", f"passage {k} of {f}") for f in range(files) for k in range(each)]


def split_of(documents: list[Document]) -> Split:
    units = Units()
    for document in documents:
        units.count(document, 5)
    return units.split()


def parts_of(documents: list[Document], split: Split) -> dict[str, Counter[str]]:
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for document in documents:
        found[document.id.partition("#")[0]][split.part_of(document)] += 1
    return found


@pytest.mark.parametrize("files", [5, 8, 12, 30, 300])
def test_passages_of_one_file_are_in_one_part(files: int) -> None:
    documents = passages(files, 4)
    split = split_of(documents)
    parts = parts_of(documents, split)
    assert split.whole
    assert all(len(found) == 1 for found in parts.values())
    shares = sum(parts.values(), Counter())
    assert set(shares) == set(PARTS)
    assert shares["fit"] >= len(documents) / 2


@pytest.mark.parametrize("files", [1, 2, 3])
def test_so_few_files_are_cut_and_it_is_said(files: int) -> None:
    documents = passages(files)
    split = split_of(documents)
    assert not split.whole
    shares = sum(parts_of(documents, split).values(), Counter())
    assert set(shares) == set(PARTS)
    assert shares["fit"] >= len(documents) / 2


def test_a_file_that_holds_nearly_all_is_not_kept_out_of_the_fit() -> None:
    for large in range(12):
        documents = [
            Document(f"{f}.txt#{k}", f"{f} {k}") for f in range(12) for k in range(400 if f == large else 3)
        ]
        shares = sum(parts_of(documents, split_of(documents)).values(), Counter())
        assert shares["fit"] >= len(documents) / 2
        assert set(shares) == set(PARTS)


def test_copies_of_a_document_stay_together_and_adding_some_moves_none() -> None:
    documents = [Document(str(i), f"text {i}") for i in range(3000)]
    split = split_of(documents)
    assert (split.whole, dict(split.places)) == (True, {})
    for document in documents[:50]:
        assert split.part_of(document) == split.part_of(Document("copy", document.text))
        assert split.part_of(document) == Split().part_of(document)


def test_what_is_counted_does_not_grow() -> None:
    units = Units()
    for document in passages(1000, 2):
        units.count(document, 1)
    assert len(units.pairs) == FEW + 1
    assert units.pairs[next(iter(units.pairs))] == 2


def test_books_cut_into_passages_by_the_corpus(tmp_path: Path) -> None:
    for book in range(8):
        words = " ".join(f"Word {k} of book {book}." for k in range(300))
        (tmp_path / f"{book}.txt").write_text(words, "utf-8")
    documents = [Document(d.id, d.text) for d in open_corpus(tmp_path, 100)]
    assert len(documents) > 40
    assert all(len(found) == 1 for found in parts_of(documents, split_of(documents)).values())
