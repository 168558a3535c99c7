"""Every command that writes is refused while another one works on the same place, before it does anything."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.conftest import POLES, Cli
from dipole.cli import run
from dipole.files import claimed

VERBS = {
    "inoculate": ("inoculate", *POLES, "--out", "{out}"),
    "inoculate --overwrite": ("inoculate", *POLES, "--overwrite", "--out", "{out}"),
    "inoculate --resume": ("inoculate", "--resume", "--out", "{out}"),
    "fit": ("fit", "vector", "--claim", *POLES, "--out", "{out}"),
    "compare": ("compare", "prompt", "--claim", *POLES, "--out", "{out}"),
    "sweep": ("sweep", "vector", "--claim", *POLES, "--out", "{out}"),
    "compose": ("compose", "--intervention", "nothing", "--out", "{out}"),
    "import": ("import", "nothing.gguf", "--out", "{out}"),
    "export": ("export", "{vector}", "--gguf", "{out}"),
    "topics": ("topics", "nothing", "--out", "{out}"),
    "point": ("point", "nothing:1", "--corpus", "nothing", "--out", "{out}"),
    "basin": ("basin", "nothing:1", "--corpus", "nothing", "--truth", "nothing", "--out", "{out}"),
    "translate": ("translate", "nothing", "--to", "tiny", "--corpus", "nothing", "--out", "{out}"),
}


@pytest.fixture
def held(tmp_path: Path) -> Iterator[Path]:
    """A place that another thread works on."""
    taken, done = threading.Event(), threading.Event()

    def work() -> None:
        with claimed(tmp_path / "out"):
            taken.set()
            done.wait()

    thread = threading.Thread(target=work)
    thread.start()
    taken.wait()
    yield tmp_path / "out"
    done.set()
    thread.join()
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def vector(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fitted steering vector."""
    out = tmp_path_factory.mktemp("vector") / "v"
    assert run(["fit", "vector", "--claim", *POLES, "--model", str(model), "--out", str(out), "--quiet"]) == 0
    return out


@pytest.mark.parametrize("verb", VERBS)
def test_it_is_refused(verb: str, cli: Cli, held: Path, request: pytest.FixtureRequest) -> None:
    place = {"out": str(held), "vector": ""}
    if "{vector}" in VERBS[verb]:
        place["vector"] = str(request.getfixturevalue("vector"))
    result = cli(*(argument.format(**place) for argument in VERBS[verb]))
    assert (result.code, result.out, result.err.count("\n")) == (2, "", 1)
    assert f"{held} is in use by process {os.getpid()}" in result.err
