"""Reading JSON, TOML and files of others: what is refused, with a reason, before it can do harm."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from dipole.concepts import Dipole
from dipole.files.reader import (
    MOST_DEPTH,
    Unreadable,
    inside,
    parse_json,
    parse_toml,
    read_bytes,
    read_json,
    read_text,
)
from dipole.interventions import load_intervention
from dipole.types import UserError

DEEP = 20_000


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[" * DEEP + "]" * DEEP, "nested deeper"),
        ("[" * DEEP, "nested deeper"),
        ('{"a":' * DEEP + "1" + "}" * DEEP, "nested deeper"),
        ("[" * (MOST_DEPTH + 2) + "]" * (MOST_DEPTH + 2), "nested deeper"),
        ('{"n": NaN}', "NaN is no number"),
        ('{"n": -Infinity}', "-Infinity is no number"),
        ('{"n": 1e999}', "no finite number"),
        ('{"n": 9223372036854775808}', "beyond 64 bits"),
        ('{"n": ' + "1" * 5000 + "}", "beyond 64 bits"),
        ('{"a": 1, "b": 2, "a": 3}', "'a' stands twice"),
        ('{"a": "\0"}', "no JSON"),
        ("", "no JSON"),
        ("{", "no JSON"),
        ('{"a": 1} {"a": 2}', "no JSON"),
    ],
)
def test_json_that_is_refused(text: str, said: str) -> None:
    with pytest.raises(Unreadable, match=said):
        parse_json(text)


def test_json_that_is_read() -> None:
    limits = [2**63 - 1, -(2**63), 1e308, "\0", "\ud800", None, True, {"": []}]
    assert parse_json(json.dumps(limits)) == limits
    at_most = "[" * (MOST_DEPTH + 1) + "]" * (MOST_DEPTH + 1)
    assert parse_json(at_most) == json.loads(at_most)
    assert parse_json('{"n": 1, "n": 1e999}', finite=False) == {"n": float("inf")}
    with pytest.raises(Unreadable, match="nested deeper"):
        parse_json("[" * DEEP, finite=False)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = " + "[" * DEEP + "]" * DEEP, "nested deeper"),
        ("x = " + "{a=" * 500 + "1" + "}" * 500, "nested deeper"),
        (".".join("a" * 500_000) + " = 1", "dotted key"),
        ("[" + ".".join(["'b'"] * 500_000) + "]", "dotted key"),
        ('x = {y = 1, "a" . ' + ".".join("b" * 20) + " = 1}", "dotted key"),
        ("x = " + "1" * 5000, "not valid TOML"),
        ("x = inf", "no finite number"),
        ("x = nan", "no finite number"),
        ("x = 1\nx = 2", "not valid TOML"),
        ("x = 'a\0b'", "not valid TOML"),
    ],
)
def test_toml_that_is_refused(text: str, said: str) -> None:
    with pytest.raises(Unreadable, match=said):
        parse_toml(text)


def test_toml_that_is_read() -> None:
    text = 'claim = "a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p.q.r.s.t.u"\n[a.b.c]\nx = {y.z = 1}'
    assert parse_toml(text)["a"]["b"]["c"]["x"]["y"]["z"] == 1


def test_a_byte_order_mark_is_left_out(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_bytes(b'\xef\xbb\xbf{"a": 1}')
    assert read_json(file) == {"a": 1}
    (tmp_path / "a.toml").write_bytes(b"\xef\xbb\xbfclaim = 'a'\nagainst = 'b'\n")
    assert Dipole.load(tmp_path / "a.toml").claim == "a"


def test_what_is_no_plain_file_is_refused(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)  # reading it would wait for ever
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    zeros = tmp_path / "zeros"
    zeros.symlink_to("/dev/zero")
    for path, said in (
        (pipe, "no plain file"),
        (zeros, "no plain file"),
        (tmp_path, "a folder"),
        (loop, "can't be read"),
        (tmp_path / "a\0b", "can't be read"),
        (tmp_path / ("a" * 300), "can't be read"),
        (tmp_path / "none", "There is no file .*; mend it"),
    ):
        with pytest.raises(UserError, match=said):
            read_bytes(path, "mend it")


def test_size_and_encoding_are_bounded(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_bytes(b"12345")
    assert read_bytes(file, most=5) == b"12345"
    with pytest.raises(UserError, match="at most 4"):
        read_bytes(file, most=4)
    file.write_bytes(b"ab\xff")
    with pytest.raises(UserError, match="byte 2 is not UTF-8"):
        read_text(file)


def test_a_path_inside_a_folder_stays_there(tmp_path: Path) -> None:
    folder = tmp_path / "made"
    (folder / "part").mkdir(parents=True)
    (tmp_path / "secret.json").write_text("{}")
    (folder / "a.json").write_text("{}")
    (folder / "near.json").symlink_to("a.json")
    (folder / "far.json").symlink_to(tmp_path / "secret.json")
    (folder / "up").symlink_to("..")
    (folder / "loop").symlink_to("loop")
    for name in ("part", "a.json", "near.json", "none.json", "part/../a.json", "..a"):
        assert inside(folder, name) == folder / name
    for name in (
        "..",
        "../secret.json",
        "/etc/passwd",
        "far.json",
        "up",
        "up/secret.json",
        "loop",
        "a\0",
        "",
    ):
        with pytest.raises(UserError, match="leads out of that folder"):
            inside(folder, name)
    (tmp_path / "link").symlink_to(folder)  # the folder itself may be named by a link
    assert inside(tmp_path / "link", "a.json").is_file()


def test_the_cache_of_the_hub_keeps_its_files_beside_its_snapshots(tmp_path: Path) -> None:
    snapshot = tmp_path / "models--a" / "snapshots" / "1f"
    snapshot.mkdir(parents=True)
    blob = tmp_path / "models--a" / "blobs" / "77"
    blob.parent.mkdir()
    blob.write_text("{}")
    (snapshot / "dipole.json").symlink_to("../../blobs/77")
    assert inside(snapshot, "dipole.json").is_file()
    (snapshot / "other.json").symlink_to(tmp_path / "other.json")
    with pytest.raises(UserError, match="leads out"):
        inside(snapshot, "other.json")


def test_an_adapter_that_is_a_link_out_of_its_run_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "dipole.json").write_text("{}")
    (tmp_path / "run" / "adapter").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="leads out of that folder"):
        load_intervention(tmp_path / "run")
