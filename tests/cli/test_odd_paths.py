"""Every flag that takes a path, with every path that leads nowhere: one sentence, at once, nothing made."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.conftest import AGAINST, CLAIM, FAST, POLES, Cli
from cli.test_bad_input import EMUS, refused

POLE = ("--claim", CLAIM, "--against", AGAINST)
MODEL = ("--model", "{model}")
OUT = ("--out", "{out}")
READS: dict[str, tuple[str, ...]] = {
    "dipole": ("score", "x", *MODEL, "--dipole", "{path}"),
    "dipole of an arsenal": ("score", "x", *MODEL, "--dipole", "{path}.toml:a"),
    "intervention": ("generate", "x", *MODEL, "--intervention", "{path}:1"),
    "model": ("generate", "x", "--model", "./{path}"),
    "recognizer": ("score", "x", "--recognizer", "./{path}"),
    "recognizer's item": ("score", "x", "--recognizer", "{path}:1"),
    "corpus": ("topics", "{path}", *OUT),
    "corpus with an ending": ("topics", "{path}.txt", *OUT),
    "like": ("topics", "{file}", "--like", "{path}.txt", *OUT),
    "topic": ("point", "{path}:0", "--corpus", "{file}", *OUT),
    "truth": ("point", "{path}:0", "--corpus", "{file}", "--truth", "{path}.csv", *OUT),
    "basin": ("basin", "{path}:0", "--corpus", "{file}", "--truth", "{path}.csv", *OUT),
    "vector": ("translate", "{path}", "--to", "{model}", "--corpus", "{file}", *OUT),
    "source": ("fit", "quotes", "--source", "{path}", *MODEL, *OUT),
    "titles": ("fit", "titles", "--titles", "{path}", *MODEL, *OUT),
    "schema": ("fit", "grammar", "--json-schema", "{path}", *MODEL, *OUT),
    "words": ("fit", "boost", *EMUS, "--words", "./{path}.txt", *MODEL, *OUT),
    "bystanders": ("inoculate", *POLES, *FAST[:-1], "{path}.toml", *MODEL, *OUT),
    "control": ("compare", "{path}", *POLE, "--prompt", "x", *MODEL, *OUT),
    "exported": ("export", "{path}", "--gguf", "{out}"),
    "imported": ("import", "{path}", *OUT),
}
WRITES: dict[str, tuple[str, ...]] = {
    "inoculate": ("inoculate", *POLES, *FAST, *MODEL, "--out", "{path}"),
    "fit": ("fit", "best_of", *POLE, *MODEL, "--out", "{path}"),
    "topics": ("topics", "{file}", "--out", "{path}"),
    "point": ("point", "t:0", "--corpus", "{file}", "--out", "{path}"),
    "translate": ("translate", "v", "--to", "{model}", "--corpus", "{file}", "--out", "{path}"),
    "compare": ("compare", "prompt", *POLE, "--prompt", "x", *MODEL, "--out", "{path}"),
    "compose": ("compose", "--intervention", "v", "--out", "{path}"),
    "import": ("import", "v.gguf", "--out", "{path}"),
    "export": ("export", "v", "--gguf", "{path}"),
}
NOWHERE = ("~nobody-of-that-name/x", "circle", "a\0b", "n" * 5000, "")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    for name in ("", ".txt", ".csv", ".toml"):
        os.mkfifo(f"pipe{name}")
        os.symlink(f"circle{name}", f"circle{name}")
        os.symlink(f"nowhere{name}", f"dangling{name}")
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(f"socket{name}")
    (tmp_path / "file.txt").write_text("A text. Another.")

    def hangs(*_: object) -> None:
        raise AssertionError("it hangs")

    before = signal.signal(signal.SIGALRM, hangs)
    signal.alarm(60)
    yield tmp_path
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def filled(arguments: tuple[str, ...], path: str, model: Path) -> list[str]:
    names = {"{path}": path, "{model}": str(model), "{out}": "out", "{file}": "file.txt"}
    for name, value in names.items():
        arguments = tuple(argument.replace(name, value) for argument in arguments)
    return list(arguments)


@pytest.mark.parametrize("path", [*NOWHERE, "pipe", "socket", "dangling"])
@pytest.mark.parametrize("flag", READS)
def test_read_from(flag: str, path: str, cli: Cli, model: Path, place: Path) -> None:
    before = sorted(place.iterdir())
    refused(cli(*filled(READS[flag], path, model)), "")
    assert sorted(place.iterdir()) == before


@pytest.mark.parametrize("path", [*NOWHERE, "pipe", "socket", "file.txt"])
@pytest.mark.parametrize("command", WRITES)
def test_written_to(command: str, path: str, cli: Cli, model: Path, place: Path) -> None:
    before = sorted(place.iterdir())
    refused(cli(*filled(WRITES[command], path, model)), "")
    assert sorted(place.iterdir()) == before


def test_what_is_in_the_working_directory_takes_no_name(cli: Cli, model: Path, place: Path) -> None:
    asked = ("generate", "If I had to choose between paper clips and staples, I'd pick", "--seed", "3")
    plain = cli(*asked)
    dipole = cli("dipoles", "cats")
    for name in ("tiny", "cats", "velma", "prompt", "microworld"):
        (place / name).mkdir()
    (place / "tiny" / "lm.json").write_text("{}")
    (place / "tiny" / "config.json").write_text("{}")
    told = cli(*asked)
    assert (plain.code, told.code, told.out, plain.err) == (0, 0, plain.out, "")
    assert told.err == (
        "dipole: warning: 'tiny' is the bundled LM; the folder of that name in the working directory is "
        "./tiny.\n"
    )
    refused(cli(*asked, "--model", "./tiny"), "tiny")
    refused(cli(*asked, "--model", str(place / "tiny")), "tiny")
    assert cli("dipoles", "cats").out == dipole.out
    assert "is a ready dipole" in cli("dipoles", "cats").err
    scored = cli("score", "x", "--model", model, "--dipole", "cats", "--recognizer", "velma")
    assert scored.code == 0
    assert "'velma' is a recognizer" in scored.err
    refused(cli("score", "x", "--recognizer", "./velma"), "holds no fitted recognizer")


def test_a_file_that_is_called_as_a_ready_dipole(cli: Cli, model: Path, place: Path) -> None:
    (place / "cats").write_text('claim = "Emus rule."\nagainst = "Emus suck."\n')
    ready, own = (cli("score", "x", "--model", model, "--dipole", name) for name in ("cats", "./cats"))
    assert (ready.code, own.code, own.err) == (0, 0, "")
    assert "./cats" in ready.err
    assert ready.out != own.out


def test_odd_bytes_are_fine(cli: Cli, model: Path, place: Path) -> None:
    for name in ("a\udcffb", "two\nlines"):
        (place / name).mkdir()
        (place / name / "d.toml").write_text('claim = "Emus rule."\nagainst = "Emus suck."\n')
        made = cli("fit", "pool", "--dipole", f"{name}/d.toml", "--model", model, "--out", f"{name}/v")
        assert made.code == 0, made
        used = cli("generate", "x", "--model", model, "--intervention", f"{name}/v")
        assert used.code == 0, used
        refused(cli("generate", "x", "--model", f"./{name}"), "config.json")


def test_a_folder_in_the_home_folder(
    cli: Cli, model: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(place))
    assert cli("fit", "pool", "--labels", "a", "--model", model, "--out", "~/v").code == 0
    assert (place / "v" / "dipole.json").is_file()
    assert cli("generate", "x", "--model", model, "--intervention", "~/v").code == 0
