"""CSV and TSV: no row is lost without a word."""

from __future__ import annotations

import gzip
import warnings
from pathlib import Path

import pytest

from dipole.corpora.corpus import Document, open_corpus, read_labels
from dipole.types import DipoleWarning, UserError

ROWS = [f"{k},text {k}" for k in range(1, 201)]


def write(folder: Path, rows: list[str] | str | bytes, name: str = "a.csv") -> Path:
    if isinstance(rows, list):
        rows = "\n".join(["id,text", *rows]) + "\n"
    (folder / name).write_bytes(rows.encode() if isinstance(rows, str) else rows)
    return folder / name


def texts(path: Path) -> list[str]:
    return [document.text for document in open_corpus(path)]


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.csv.gz"])
@pytest.mark.parametrize(
    "closing",
    [
        None,  # never closed
        'said "hi" twice',  # closed inside another cell
        '"quoted"',  # closed by a cell that is quoted
        'bye"',  # closed where a cell ends: a valid table, with rows inside a cell
    ],
)
def test_a_lone_quotation_mark_does_not_swallow_rows(closing: str | None, name: str, tmp_path: Path) -> None:
    rows = list(ROWS)
    rows[20] = '21,"Hello'
    if closing:
        rows[199] = f"200,{closing}"
    data = "\n".join(["id,text", *rows, ""])
    data = data.replace(",", "\t") if "tsv" in name else data
    path = write(tmp_path, gzip.compress(data.encode()) if name.endswith(".gz") else data, name)
    with pytest.raises(UserError, match=r"line 22\b.*quotation mark"):
        texts(path)


def test_a_lone_quotation_mark_before_the_columns_that_follow(tmp_path: Path) -> None:
    rows = [f"text {k},2024-01-0{k % 9}" for k in range(20)]
    rows[4], rows[5] = '"Hello,2024-01-01', 'bye",2024-01-02'
    with pytest.raises(UserError, match=r"line 6 .* 2 lines, of which 1 look like rows"):
        texts(write(tmp_path, "\n".join(["text,date", *rows])))


def test_swallowed_rows_without_ids(tmp_path: Path) -> None:
    rows = [f"word{'x' * k},good" for k in range(9)]
    rows[2], rows[8] = 'y,"good', 'z,good"'
    with pytest.raises(UserError, match=r"line 4 .* 7 lines, of which \d look like rows"):
        texts(write(tmp_path, "\n".join(["text,mood", *rows])))


def test_swallowed_rows_of_one_column_are_told(tmp_path: Path) -> None:
    rows = [f"text {k}" for k in range(40)]
    rows[10], rows[30] = '"Hello', 'bye"'
    with pytest.warns(DipoleWarning, match="20 rows, of which the one in line 12 goes on over 21 lines"):
        assert len(texts(write(tmp_path, "\n".join(["text", *rows])))) == 20


@pytest.mark.parametrize(
    "cell",
    [
        "Roses, red\nviolets, blue\nsugar, sweet",
        "Take:\n2, eggs\n3, apples",
        "A line.\n\nAnother, longer, line.\nThe end",
        'He said "hi",\nand left',
        "one\r\ntwo",
        "a\n" * 50,
    ],
)
def test_a_text_of_several_lines_is_one_text(cell: str, tmp_path: Path) -> None:
    quoted = '"' + cell.replace('"', '""') + '"'
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert texts(write(tmp_path, ["7,short", f"8,{quoted}", "9,last"])) == ["short", cell, "last"]


def test_a_line_with_one_comma_is_no_row_because_its_words_look_alike(tmp_path: Path) -> None:
    poem = "Roses are\nred,violets"
    assert texts(write(tmp_path, f'mood,text\npoem,"{poem}"\n')) == [poem]


def test_many_texts_of_several_lines_in_one_column_are_not_told(tmp_path: Path) -> None:
    cell = '"' + "a line\n" * 20 + '"'
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(texts(write(tmp_path, "\n".join(["text", *[cell] * 10])))) == 10


def test_quotation_marks_inside_an_unquoted_cell_are_signs(tmp_path: Path) -> None:
    assert texts(write(tmp_path, ["1,5' 3\" tall", '2,say "hi"'])) == ["5' 3\" tall", 'say "hi"']


@pytest.mark.parametrize("row", ['1,"He said "hi" and left"', '1,"quoted" ', '1,"a"b'])
def test_signs_behind_a_closing_quotation_mark_are_refused(row: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="line 2 has a quotation mark"):
        texts(write(tmp_path, [row]))


def test_a_row_with_more_columns_is_told_and_not_cut(tmp_path: Path) -> None:
    corpus = open_corpus(write(tmp_path, ["1,Hello, world", "2,kept", "3,trailing,,"]))
    assert [d.text for d in corpus] == ["kept", "trailing"]
    assert corpus.skipped[0].name == "a.csv:2"
    assert "has 3 columns where the header has 2" in corpus.skipped[0].reason


def test_a_row_with_fewer_columns_is_read_unless_the_file_ends_in_it(tmp_path: Path) -> None:
    corpus = open_corpus(write(tmp_path, "id,text,lang\n1,whole,en\n2,short\n3,cut he"))
    assert [d.text for d in corpus] == ["whole", "short"]
    assert corpus.skipped == (("a.csv:4", "is cut short: the file ends inside it"),)
    corpus = open_corpus(write(tmp_path, "text,id\nwhole,1\nlast,2"))
    assert [d.text for d in corpus] == ["whole", "last"]


def test_a_file_that_is_cut_inside_quotes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="line 3 has a quotation mark"):
        texts(write(tmp_path, 'id,text\n1,"whole"\n2,"cut he'))


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "mixed"])
@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.txt"])
def test_line_ends_of_any_system(end: str, name: str, tmp_path: Path) -> None:
    lines = {
        "a.csv": ["id,text", "1,one", "2,two", "3,three"],
        "a.jsonl": ['{"text": "one"}', '{"text": "two"}', '{"text": "three"}'],
        "a.txt": ["one", "two", "three"],
    }[name]
    ends = ["\n", "\r", "\r\n"] if end == "mixed" else [end] * 3
    data = "".join(line + ends[k % 3] for k, line in enumerate(lines))
    wanted = ["one\ntwo\nthree\n"] if name == "a.txt" else ["one", "two", "three"]
    assert texts(write(tmp_path, data, name)) == wanted


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl", "a.txt", "a.csv.gz"])
def test_byte_order_marks(encoding: str, name: str, tmp_path: Path) -> None:
    data = {"jsonl": '{"text": "café"}\n', "txt": "café", "tsv": "id\ttext\n1\tcafé\n"}.get(
        name.split(".")[1], "id,text\n1,café\n"
    )
    mark = {"utf-16-le": b"\xff\xfe", "utf-16-be": b"\xfe\xff"}.get(encoding, b"")
    raw = mark + data.encode(encoding)
    assert texts(write(tmp_path, gzip.compress(raw) if name.endswith("gz") else raw, name)) == ["café"]


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.txt"])
def test_what_is_cut_inside_a_sign_of_utf_16_is_told(name: str, tmp_path: Path) -> None:
    data = {"a.csv": "id,text\n1,b\n", "a.jsonl": '{"text": "b"}\n', "a.txt": "b"}[name]
    with pytest.raises(UserError, match=r"no text in utf-16|is not UTF-8 text"):
        texts(write(tmp_path, data.encode("utf-16")[:-1], name))


@pytest.mark.parametrize(
    ("delimiter", "name"), [(";", "a.csv"), ("\t", "a.csv"), ("|", "a.csv"), (",", "a.tsv")]
)
def test_the_header_tells_what_parts_the_columns(delimiter: str, name: str, tmp_path: Path) -> None:
    data = f"id{delimiter}text\n1{delimiter}one\n"
    assert list(open_corpus(write(tmp_path, data, name))) == [Document("1", "one")]
    labels = f"id{delimiter}label\n1{delimiter}yes\n"
    assert read_labels(write(tmp_path, labels, name)) == {"1": True}


def test_a_column_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="2 columns called `text`"):
        texts(write(tmp_path, "id,text,Text\n1,a,b\n"))


def test_signs_that_are_no_text_are_told(tmp_path: Path) -> None:
    corpus = open_corpus(write(tmp_path, b"id,text\n1,a\0b\n2,caf\xe9\n3,good\n"))
    assert [d.text for d in corpus] == ["good"]
    assert [s.reason for s in corpus.skipped] == ["is binary, not text", "is not UTF-8 text"]
    corpus = open_corpus(
        write(
            tmp_path, b'{"text": "caf\xe9"}\n{"text": "a\\u0000"}\n{"text"\n{"text": "ok"}\n{"te', "a.jsonl"
        )
    )
    assert [d.text for d in corpus] == ["ok"]
    assert [s.reason for s in corpus.skipped] == [
        "is not UTF-8 text",
        "is binary, not text",
        "is no JSON",
        "is no JSON",
    ]


def test_a_huge_cell_is_read(tmp_path: Path) -> None:
    assert len(texts(write(tmp_path, [f"1,{'x' * 200_000}"]))[0]) == 200_000


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'id,label\na,1\n"b,0\nc,1\n', "line 3 has a quotation mark"),
        (b'id,label\na1,1\n"b2,0\nc3,1\nd4",0\n', "look like rows of their own"),
        (b"id,label\na,b,1\n", "Line 2 .* has 3 columns where the header has 2"),
        (b"id,label\ncaf\xe9,1\n", "Line 2 .* has an id that is not UTF-8"),
        (b"id,label\na\0,1\n", "Line 2 .* has an id that is binary"),
        (b"id,label,label\na,1,0\n", "2 columns called `label`"),
        (b"id,label,more\na,1,x\nb,1", "Line 3 .* is cut short"),
        (b"", "no column `id`"),
        (b"\xef\xbb\xbf", "no column `id`"),
    ],
)
def test_labels_that_can_not_be_read(data: bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        read_labels(write(tmp_path, data))
