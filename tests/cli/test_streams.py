"""Standard streams that are closed, full or left by their reader, and texts that come one by one."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from cli.conftest import AGAINST, CLAIM
from dipole.cli import run
from dipole.cli._texts import BATCH
from dipole.types import Score

SCORE = ("score", "--claim", CLAIM, "--against", AGAINST)
FULL = pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
LIKE_A_SHELL = """
import os, sys
descriptor, way = int(sys.argv[1]), sys.argv[2]
read, write = os.pipe()
os.close(read)
other = os.open("/dev/full", os.O_WRONLY) if way == "full" else write
os.dup2(other, descriptor)
if way == "closed":
    os.close(descriptor)
os.execv(sys.executable, [sys.executable, "-m", "dipole", *sys.argv[3:]])
"""


def with_stream(descriptor: int, way: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", LIKE_A_SHELL, str(descriptor), way, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.parametrize("arguments", [["dipoles"], ["dipoles", "--json"], ["--version"], ["--help"]])
@pytest.mark.parametrize("way", ["closed", "broken", pytest.param("full", marks=FULL)])
def test_nobody_reads_standard_output(way: str, arguments: list[str]) -> None:
    done = with_stream(1, way, *arguments)
    if way == "full":
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert "No space left on device" in done.stderr
    else:
        assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize("way", ["closed", "broken", pytest.param("full", marks=FULL)])
@pytest.mark.parametrize(
    ("arguments", "code"),
    [(["dipoles"], 0), (["nonsense"], 2), (["score", "a", "--recognizer", "nonsense"], 2)],
)
def test_nobody_reads_standard_error(way: str, arguments: list[str], code: int) -> None:
    """What is said there is no result: it is dropped, and never comes out among the results."""
    done = with_stream(2, way, *arguments)
    assert (done.returncode, bool(done.stdout)) == (code, code == 0)
    assert "dipole: " not in done.stdout


@pytest.mark.parametrize("arguments", [["dipoles"], ["nonsense"]])
def test_all_streams_are_closed(arguments: list[str]) -> None:
    command = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", sys.executable, "-m", "dipole", *arguments]
    assert subprocess.run(command, timeout=300, check=False).returncode in (141, 2)


def test_a_file_does_not_get_the_descriptor_of_a_closed_stream(tmp_path: Path) -> None:
    """Else what is printed below Python goes into that file."""
    script = (
        "import os, sys\n"
        "from dipole.cli._streams import open_streams\n"
        "open_streams()\n"
        "with open(sys.argv[1], 'w') as file:\n"
        "    assert file.fileno() > 2\n"
        "    file.write('data')\n"
        "    print('noise', file=sys.stderr)\n"
    )
    command = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", sys.executable, "-c", script, str(tmp_path / "f")]
    assert subprocess.run(command, timeout=300, check=False).returncode == 0
    assert (tmp_path / "f").read_text() == "data"


class Fake:
    """A recognizer that counts letters, and remembers its batches."""

    name = "fake"

    def __init__(self) -> None:
        self.batches: list[int] = []

    def score(self, texts: Sequence[str], concept: object) -> list[Score]:
        self.batches.append(len(texts))
        return [Score(float(len(text))) for text in texts]


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Fake:
    made = Fake()
    monkeypatch.setattr("dipole.cli._named.load_recognizer", lambda *_: made)
    return made


class Heard(io.StringIO):
    """Standard output whose reader knows when something new was flushed."""

    def __init__(self) -> None:
        super().__init__()
        self.news = threading.Semaphore(0)

    def flush(self) -> None:
        self.news.release()


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_each_line_comes_out_before_the_next_goes_in(
    options: tuple[str, ...], fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, write = os.pipe()
    out = Heard()
    monkeypatch.setattr(sys, "stdout", out)
    late: list[str] = []

    def talk() -> None:
        for text in ("first", "second", "third"):
            os.write(write, f"{text}\n".encode())
            if not out.news.acquire(timeout=60) or text not in out.getvalue():
                late.append(text)
        os.close(write)

    talker = threading.Thread(target=talk)
    talker.start()
    with os.fdopen(read, encoding="utf-8") as stream:
        monkeypatch.setattr(sys, "stdin", stream)
        code = run([*SCORE, "-", *options])
    talker.join()
    assert (code, late) == (0, [])
    assert fake.batches == [1, 1, 1]
    assert out.getvalue().count("\n") == 3


def test_the_order_stays_and_full_batches_are_made_of_what_is_there(
    fake: Fake, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = [f"text {i}" for i in range(3 * BATCH + 5)]
    data = "\n".join(["", *texts[: BATCH + 1], "   ", *texts[BATCH + 1 :]]).encode()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    assert run([*SCORE, "before", "-", "after", "behind", "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["text"] for row in rows] == ["before", *texts, "after", "behind"]
    assert fake.batches == [1, BATCH, BATCH, BATCH, 5, 2]


def test_what_was_scored_before_a_bad_line_is_there(
    fake: Fake, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = b"".join(b"text %d\n" % i for i in range(BATCH)) + b"bad \xff\n"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    assert run([*SCORE, "-"]) == 2
    printed = capsys.readouterr()
    assert printed.out.count("\n") == BATCH
    assert f"line {BATCH + 1} has the byte 0xff at its byte 5" in printed.err


def test_what_was_scored_before_ctrl_c_is_there(
    fake: Fake, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Interrupted(io.BytesIO):
        def read1(self, size: int | None = -1, /) -> bytes:
            block = super().read1(size)
            if not block:
                raise KeyboardInterrupt
            return block

    data = b"".join(b"text %d\n" % i for i in range(BATCH))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(Interrupted(data)))
    assert run([*SCORE, "-"]) == 130
    assert capsys.readouterr().out.count("\n") == BATCH


class Endless(io.RawIOBase):
    """So many lines, made when they are read."""

    def __init__(self, lines: int) -> None:
        self._lines: Iterator[bytes] = (b"text number %d\n" % i for i in range(lines))

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        line = next(self._lines, b"")
        buffer[: len(line)] = line
        return len(line)


def test_memory_does_not_grow_with_the_lines(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    def peak(lines: int) -> int:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(Endless(lines))))
        fake.batches.clear()
        with open(os.devnull, "w") as nowhere:
            monkeypatch.setattr(sys, "stdout", nowhere)
            tracemalloc.start()
            try:
                assert run([*SCORE, "-"]) == 0
                return tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()

    peak(BATCH)  # what is imported
    few, many = peak(BATCH), peak(100 * BATCH)
    assert sum(fake.batches) == 100 * BATCH
    assert many < few + 200_000
