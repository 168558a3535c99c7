"""Corpora: what is read, how it is named, what is skipped, and what is refused."""

from __future__ import annotations

import gzip
import json
import os
import random
from pathlib import Path

import pytest

from dipole.corpora.corpus import Corpus, Document, label_of, open_corpus, read_labels
from dipole.corpora.passages import passages
from dipole.types import UserError


def ids(corpus: Corpus) -> list[str]:
    return [document.id for document in corpus]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two texts, one of them deep and gzipped, among what is no text."""
    place = tmp_path / "books"
    (place / "deep").mkdir(parents=True)
    (place / "b.txt").write_text("Two.\n", "utf-8")
    (place / "deep" / "a.txt.gz").write_bytes(gzip.compress(b"\xef\xbb\xbfOne.\r\nMore."))
    (place / "binary.txt").write_bytes(b"MZ\0\0")
    (place / "blank.txt").write_text(" \n\t\n")
    (place / "broken.txt.gz").write_bytes(gzip.compress(b"Half a text, " * 99)[:-20])
    (place / "latin.txt").write_bytes("café".encode("latin-1"))
    (place / "lying.txt.gz").write_bytes(b"not packed")
    (place / "metadata.csv").write_text("id,label\n")
    (place / "zero.txt").write_bytes(b"")
    (place / ".hidden.txt").write_text("never seen")
    return place


def test_folder(folder: Path) -> None:
    corpus = open_corpus(folder)
    first = list(corpus)
    assert first == [Document("b.txt", "Two.\n"), Document("deep/a.txt.gz", "One.\nMore.")]
    assert list(corpus) == first
    assert dict(corpus.skipped) == {
        "binary.txt": "is binary, not text",
        "blank.txt": "is empty",
        "broken.txt.gz": "is no valid gzip file",
        "latin.txt": "is not UTF-8 text",
        "lying.txt.gz": "is no valid gzip file",
        "metadata.csv": "is no .txt or .txt.gz file",
        "zero.txt": "is empty",
    }


def test_character_over_a_block_border(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dipole.corpora.sources._BLOCK", 3)
    (tmp_path / "a.txt").write_text("abé€𝄞", "utf-8")
    (tmp_path / "cut.txt").write_bytes("ab€".encode()[:-1])
    corpus = open_corpus(tmp_path)
    assert [d.text for d in corpus] == ["abé€𝄞"]
    assert corpus.skipped == (("cut.txt", "is not UTF-8 text"),)


def test_single_text(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("One two. Three four.\n\nFive six.", "utf-8")
    assert list(open_corpus(file)) == [Document("a.txt", "One two. Three four.\n\nFive six.")]
    assert list(open_corpus(file, words=2)) == [
        Document("a.txt#0", "One two."),
        Document("a.txt#1", "Three four."),
        Document("a.txt#2", "Five six."),
    ]


def test_jsonl(tmp_path: Path) -> None:
    rows = [
        json.dumps({"text": "One.", "id": "first"}),
        "",
        json.dumps({"text": "Two.\u2028Still two."}),
        "{no JSON",
        json.dumps({"body": "no text"}),
        json.dumps({"text": 3}),
        json.dumps({"text": "  "}),
        json.dumps(["text"]),
        json.dumps({"text": "\ud800"}),
        json.dumps({"text": "Again.", "id": "first"}),
        json.dumps({"text": "Seven.", "id": 7}),
        "[" * 100_000,
    ]
    file = tmp_path / "a.jsonl"
    file.write_bytes("\r\n".join(rows).encode() + b'\n{"text": "\xff"}\n')
    corpus = open_corpus(file)
    assert list(corpus) == [
        Document("first", "One."),
        Document("a.jsonl:3", "Two.\u2028Still two."),
        Document("7", "Seven."),
    ]
    assert dict(corpus.skipped) == {
        "a.jsonl:4": "is no JSON",
        "a.jsonl:5": "has no `text`",
        "a.jsonl:6": "has a `text` that is a int, not a string",
        "a.jsonl:7": "is empty",
        "a.jsonl:8": "is no JSON object",
        "a.jsonl:9": "is not UTF-8 text",
        "a.jsonl:10": "has the id 'first', which came before",
        "a.jsonl:12": "is no JSON",
        "a.jsonl:13": "is not UTF-8 text",
    }


@pytest.mark.parametrize(("name", "mark"), [("a.csv", ","), ("a.tsv", "\t"), ("a.tsv.gz", "\t")])
def test_tables(tmp_path: Path, name: str, mark: str) -> None:
    rows = [
        ["n", "Text", "id"],
        ["1", '"One,\nstill\tone"', ""],
        ["2", "Two", "second"],
        ["3"],
        ["4", "", "fourth"],
        ["5", "x" * 200_000, ""],
    ]
    data = "\ufeff" + "\r\n".join(mark.join(row) for row in rows)
    file = tmp_path / name
    content = data.encode() + mark.join(["\r\n6", "caf"]).encode() + b"\xe9\r\n"
    file.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    corpus = open_corpus(file)
    assert [(d.id, d.text[:20]) for d in corpus] == [
        (f"{name}:2", "One,\nstill\tone"),
        ("second", "Two"),
        (f"{name}:7", "x" * 20),
    ]
    assert corpus.skipped == (
        (f"{name}:5", "has no `text`"),
        ("fourth", "is empty"),
        (f"{name}:8", "is not UTF-8 text"),
    )


def test_rows_in_passages(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text(json.dumps({"id": "x", "text": "One two. Three four."}) + "\n")
    assert ids(open_corpus(file, words=2)) == ["x#0", "x#1"]


def test_a_broken_end_of_a_gzipped_file_is_skipped(tmp_path: Path) -> None:
    lines = "".join(json.dumps({"text": f"{random.Random(i).random()}"}) + "\n" for i in range(5000))
    file = tmp_path / "a.jsonl.gz"
    file.write_bytes(gzip.compress(lines.encode())[:-2000])
    corpus = open_corpus(file)
    assert len(list(corpus)) > 1000
    assert corpus.skipped == (("a.jsonl.gz", "is no valid gzip file, or ends early"),)


def test_iterations_do_not_disturb_each_other(folder: Path) -> None:
    corpus = open_corpus(folder)
    pairs = list(zip(corpus, corpus, strict=True))
    assert all(a == b for a, b in pairs)
    assert len(corpus.skipped) == 7


def refused(path: Path | str, words: int | None = None) -> str:
    with pytest.raises(UserError) as caught:
        list(open_corpus(path, words))
    assert str(caught.value).endswith(".")
    return str(caught.value)


def test_refusals(tmp_path: Path) -> None:
    assert "There is no corpus at" in refused(tmp_path / "absent")
    assert "empty string" in refused("")
    (tmp_path / "photo.png").write_bytes(b"\x89PNG")
    assert "holds no .txt" in refused(tmp_path)
    assert "no form that can be read" in refused(tmp_path / "photo.png")
    assert "at least 1 word" in refused(tmp_path, words=0)
    (tmp_path / "a.csv").write_text("id,body\n1,x\n")
    assert "no column `text` in its first line; its columns are: id, body" in refused(tmp_path / "a.csv")
    (tmp_path / "empty.csv").write_text("")
    assert "its columns are: none" in refused(tmp_path / "empty.csv")
    (tmp_path / "bytes.csv").write_bytes(b"\x89PNG\0\0\n")
    assert "not UTF-8" in refused(tmp_path / "bytes.csv")
    (tmp_path / "bad.csv.gz").write_bytes(b"text\nx\n")
    assert "no valid gzip" in refused(tmp_path / "bad.csv.gz")


def test_nothing_left(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(" ")
    assert "a.txt, is empty" in refused(tmp_path)
    (tmp_path / "b.txt").write_bytes(b"\0")
    assert "all 2 that it has were skipped; the first, a.txt, is empty" in refused(tmp_path)
    (tmp_path / "a.jsonl").write_text("\n\n")
    assert "There is no text in" in refused(tmp_path / "a.jsonl")


def test_labels(tmp_path: Path) -> None:
    file = tmp_path / "labels.csv"
    file.write_text("label,id\n1,a\nFALSE,b.txt\nyes,b.txt#1\n1,a\n")
    labels = read_labels(file)
    assert labels == {"a": True, "b.txt": False, "b.txt#1": True}
    assert label_of(labels, "b.txt#1") is True
    assert label_of(labels, "b.txt#2") is False
    assert label_of(labels, "c") is None


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("id,truth\na,1\n", "no column `label`"),
        ("id,label\na,maybe\n", "Line 2"),
        ("id,label\n,1\n", "Line 2"),
        ("id,label\na\n", "Line 2"),
        ("id,label\na,1\n\na,0\n", "again in line 4"),
        ("id,label\n", "no row"),
    ],
)
def test_bad_labels(tmp_path: Path, content: str, said: str) -> None:
    file = tmp_path / "labels.csv"
    file.write_text(content)
    with pytest.raises(UserError, match=said):
        read_labels(file)


def test_labels_that_are_not_there(tmp_path: Path) -> None:
    for path in (tmp_path / "labels.csv", tmp_path):
        with pytest.raises(UserError, match="no labels"):
            read_labels(path)


def test_passages_end_at_the_nearest_paragraph_or_sentence() -> None:
    lines = ["One two three four.", "Five six seven.", "", "Eight nine ten.", "", "A b c d e f. G h i."]
    assert list(passages(lines, 8)) == [
        "One two three four. Five six seven.",
        "Eight nine ten.\n\nA b c d e f. G h i.",
    ]
    near = ["a b c d e f g h. i.", "", "j k l m."]
    assert list(passages(near, 8)) == ["a b c d e f g h. i.", "j k l m."]
    assert list(passages(["a b c d. e f g h. i j"], 4)) == ["a b c d.", "e f g h. i j"[:8], "i j"]
    assert list(passages(["a b c d e f g h i j k"], 4)) == ["a b c d", "e f g h", "i j k"]


def test_titles_and_quotes_at_a_sentence_end() -> None:
    text = 'Mr. Holmes and Mrs. H. Hudson left. "So late?" Yes (he said.) Then'
    assert list(passages([text], 1)) == text.split()
    assert list(passages([text], 5)) == [
        "Mr. Holmes and Mrs. H. Hudson left.",
        '"So late?" Yes (he said.) Then',
    ]


def test_passages_keep_every_word_and_their_size() -> None:
    rng = random.Random(0)
    for trial in range(300):
        words = [f"w{i}" + rng.choice(["", "", "", ".", "!"]) for i in range(rng.randint(1, 400))]
        lines, rest = [], list(words)
        while rest:
            n = rng.randint(1, 30)
            lines.append(" ".join(rest[:n]))
            rest = rest[n:]
            lines += [""] * rng.randint(0, 2)
        wanted = rng.randint(1, 80)
        cut = list(passages(lines, wanted))
        assert " ".join(cut).split() == words, trial
        sizes = [len(passage.split()) for passage in cut]
        assert max(sizes) <= 2 * wanted or len(cut) == 1
        assert min(sizes) >= min(wanted / 2, len(words))


def test_a_folder_that_can_not_be_listed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shut").mkdir()
    (tmp_path / "a.txt").write_text("Some words.")
    listed = os.scandir

    def refusing(path: str) -> object:
        if str(path).endswith("shut"):
            raise PermissionError(13, "Permission denied", path)
        return listed(path)

    monkeypatch.setattr(os, "scandir", refusing)
    corpus = open_corpus(tmp_path)
    assert [document.id for document in corpus] == ["a.txt"]
    assert corpus.skipped == (("shut", "can't be read (Permission denied)"),)
    (tmp_path / "a.txt").unlink()
    with pytest.raises(UserError, match="can't be read"):
        open_corpus(tmp_path)


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        ("回形针很好。" * 8, ["回形针很好。" * 2] * 4),
        ("「紙は白い。」" * 4, ["「紙は白い。」" * 2] * 2),
        ("น้ำใจ" * 20, ["น้ำใจ" * 5] * 4),
        ("回形针" * 10, ["回形针回形针回形针回"] * 3),
    ],
)
def test_a_text_without_blanks_is_cut_too(text: str, cut: list[str]) -> None:
    found = list(passages([text], 10))
    assert "".join(found) == text
    assert len(found[0]) == len(cut[0])
    assert len(found) == len(cut)
