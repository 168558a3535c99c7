"""A kill at every single moment: the n-th call that touches the file system is the last one, for every n.

What a reader then finds is the old result or the new one, whole; after the next start nothing else is left,
and every file of the user is where it was.
"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dipole.files import (
    CHECKPOINT,
    MARKER,
    _swap,
    claimed,
    explain,
    run_folder,
    settled,
    staged,
    write_json_atomic,
    write_manifest,
    write_text_atomic,
    writing_text,
)
from dipole.files._folders import NEXT

EVENTS = ("open", "os.", "shutil.")
OLD = {"adapter/weights": "old", "basin.json": "old", "manifest.json": "", "report.html": "old"}
NEW = {"adapter/weights": "new", "manifest.json": "", "report.html": "new", "extra.json": "new"}
MINE = {"notes.txt": "mine", ".git/config": "mine", "figures/a.png": "mine"}


@pytest.fixture(autouse=True)
def no_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill loses nothing that the kernel has; only a power cut could."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def killed_at(moment: int, work: Callable[[], object]) -> bool:
    """Do it in a child that is killed just before its n-th touch of the file system; whether it was."""
    child = os.fork()
    if child == 0:
        left = moment

        def count(event: str, _: object) -> None:
            nonlocal left
            if event.startswith(EVENTS):
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        try:
            sys.addaudithook(count)
            work()
            os._exit(0)
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.__stderr__)
        os._exit(1)
    status = os.waitpid(child, 0)[1]
    assert status in (0, signal.SIGKILL), "the child failed"
    return status != 0


def put(folder: Path, files: dict[str, str]) -> None:
    try:
        for name, text in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
    except OSError as error:
        raise explain(folder, error) from error


def tree(folder: Path) -> dict[str, str]:
    """What lies in a folder, without the marker, the manifest's text and a run that can be resumed."""
    paths = (path for path in folder.rglob("*") if path.is_file() and path.name != MARKER)
    found = {str(path.relative_to(folder)): path for path in paths}
    return {
        name: "" if path.name == "manifest.json" else path.read_text()
        for name, path in sorted(found.items())
        if not name.startswith(NEXT)
    }


def result_in(folder: Path) -> dict[str, str]:
    """What a reader finds, who looks at neither the user's files nor those that are being written."""
    return {
        name: text for name, text in tree(folder).items() if name not in MINE and not name.startswith(".run.")
    }


def replace_it(folder: Path) -> None:
    with staged(folder, overwrite=True) as made:
        put(made, {name: text for name, text in NEW.items() if name != "manifest.json"})
        write_manifest(made, {"made_by": "dipole"})


def run_it(folder: Path) -> None:
    with run_folder(folder, overwrite=True) as work:
        write_json_atomic(work / "manifest.json", {"made_by": "dipole", "files": [*NEW]})
        put(work, NEW | {"manifest.json": '{"made_by": "dipole", "files": ["extra.json"]}'})


def begin_it(folder: Path) -> None:
    """A run that replaces another and is killed after its first checkpoint."""
    with run_folder(folder, overwrite=True) as work:
        write_json_atomic(work / "manifest.json", {"made_by": "dipole"})
        (work / CHECKPOINT).write_text("half way")
        os._exit(0)


def resume_it(folder: Path) -> None:
    with run_folder(folder, resume=True) as work:
        assert work.name == NEXT
        assert (work / CHECKPOINT).read_text() == "half way"
        (work / CHECKPOINT).unlink()
        put(work, NEW | {"manifest.json": '{"made_by": "dipole", "files": ["extra.json"]}'})


def old_result(folder: Path) -> None:
    shutil.rmtree(folder.parent, ignore_errors=True)
    with staged(folder) as made:
        put(made, {name: text for name, text in OLD.items() if name != "manifest.json"})
        write_manifest(made, {"made_by": "dipole"})
    put(folder, MINE)


def next_start(folder: Path) -> None:
    with claimed(folder):
        pass


def check_after_the_next_start(folder: Path) -> dict[str, str]:
    """The names of dipole's files that are there; nothing but them and the user's is."""
    next_start(folder)
    assert os.listdir(folder.parent) == [folder.name]
    found = tree(folder)
    assert {name: text for name, text in found.items() if name in MINE} == MINE
    ours = {name: text for name, text in found.items() if name not in MINE}
    assert ours in (OLD, NEW)
    return ours


def exchange_never(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_swap, "_exchange", lambda one, other: False)


def volume(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os.path, "ismount", lambda path: Path(path).name == "run")


@pytest.mark.parametrize(
    ("work", "place", "step"),
    [
        (replace_it, None, 1),
        (replace_it, exchange_never, 2),
        (replace_it, volume, 4),
        (run_it, None, 3),
        *(
            pytest.param(work, place, 1, marks=pytest.mark.slow)
            for work, place in [
                (replace_it, exchange_never),
                (replace_it, volume),
                (run_it, None),
                (run_it, exchange_never),
                (run_it, volume),
            ]
        ),
    ],
)
def test_a_kill_at_any_moment_leaves_the_old_or_the_new_result(
    work: Callable[[Path], None],
    place: Callable[[pytest.MonkeyPatch], None] | None,
    step: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if place is not None:
        place(monkeypatch)
    folder, seen, moment = tmp_path / "runs" / "run", [], 0
    while True:
        moment += step
        old_result(folder)
        killed = killed_at(moment, lambda: work(folder))
        if place is None:  # in one step: also for a reader who knows nothing of dipole
            assert result_in(folder) in (OLD, NEW), moment
        settled(folder)
        assert result_in(folder) in (OLD, NEW), moment
        seen.append(check_after_the_next_start(folder))
        if not killed:
            break
    assert moment > 40
    assert seen[0] == OLD
    assert seen[-1] == NEW
    changes = sum(one != other for one, other in itertools.pairwise(seen))
    assert changes == 1  # old up to one moment, new from it on
    work(folder)
    assert not (folder / NEXT).exists()


def test_a_folder_that_was_moved_away_after_a_kill(tmp_path: Path) -> None:
    """Both results and the user's files are there then, under names that are seen."""
    folder, moment, shown = tmp_path / "runs" / "run", 0, 0
    while True:
        moment += 2
        old_result(folder)
        killed = killed_at(moment, lambda: replace_it(folder))
        os.rename(folder, tmp_path / "elsewhere")
        next_start(folder)
        names = os.listdir(folder.parent) if folder.parent.exists() else []
        assert not [name for name in names if name.startswith(".")]
        found = [tmp_path / "elsewhere", *(folder.parent / name for name in names)]
        together = {name: text for one in found for name, text in tree(one).items()}
        assert {name: text for name, text in together.items() if name in MINE} == MINE
        shown += len(names)
        shutil.rmtree(tmp_path / "elsewhere")
        if not killed:
            break
    assert shown > 1


@pytest.mark.slow
@pytest.mark.parametrize("place", [None, exchange_never])
def test_a_kill_of_the_next_start_is_no_worse(
    place: Callable[[pytest.MonkeyPatch], None] | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if place is not None:
        place(monkeypatch)
    folder, first, ends = tmp_path / "runs" / "run", 0, list[int]()
    while True:
        first, second = first + 1, 0
        while True:
            second += 24  # every 24th moment, from another one each time
            old_result(folder)
            killed = killed_at(first, lambda: replace_it(folder))
            again = killed_at(second - first % 24, lambda: next_start(folder))
            check_after_the_next_start(folder)
            if not again:
                break
        ends.append(second)
        if not killed:
            break
    assert max(ends) > 20


def test_a_kill_of_a_resumed_run_that_replaces_another(tmp_path: Path) -> None:
    folder, moment = tmp_path / "runs" / "run", 1
    while True:
        moment += 3  # the others have gone through every single one
        old_result(folder)
        assert not killed_at(10**9, lambda: begin_it(folder))
        killed = killed_at(moment, lambda: resume_it(folder))
        check_after_the_next_start(folder)
        if not killed:
            break
    assert moment > 30
    assert tree(folder) == dict(sorted((NEW | MINE).items()))


def test_a_kill_of_a_run_that_goes_on_from_one_with_a_result(tmp_path: Path) -> None:
    """It was interrupted and measured; what it learns and measures now replaces that as a whole."""
    state = {CHECKPOINT: "3 rounds", "history.jsonl": "123", "manifest.json": '{"made_by": "dipole"}'}
    old = state | {"effect.json": "old", "adapter/weights": "old"}
    new = old | {CHECKPOINT: "4 rounds", "effect.json": "new", "adapter/weights": "new"}
    folder, moment, seen = tmp_path / "runs" / "run", 0, []

    def go_on() -> None:
        with run_folder(folder, resume=True) as work:
            assert (work / CHECKPOINT).read_text() in ("3 rounds", "4 rounds")
            assert work.name == NEXT
            for name in (CHECKPOINT, "adapter/weights", "effect.json"):
                put(work, {name: new[name]})

    while True:
        moment += 2
        shutil.rmtree(folder.parent, ignore_errors=True)
        put(folder, old | MINE)
        killed = killed_at(moment, go_on)
        found = result_in(folder) | {"manifest.json": old["manifest.json"]}
        assert found in (old, new), moment
        seen.append(found)
        go_on()
        assert result_in(folder) | {"manifest.json": old["manifest.json"]} == new, moment
        assert os.listdir(folder.parent) == [folder.name]
        if not killed:
            break
    assert old in seen
    assert new in seen


def write_whole(path: Path) -> None:
    with claimed(path):
        write_text_atomic(path, "new")


def write_stream(path: Path) -> None:
    with claimed(path), writing_text(path) as stream:
        stream.write("n")
        stream.write("ew")


@pytest.mark.parametrize("write", [write_whole, write_stream])
@pytest.mark.parametrize("old", ["old", None])
def test_a_kill_while_a_file_is_written(
    old: str | None, write: Callable[[Path], None], tmp_path: Path
) -> None:
    path, moment, seen = tmp_path / "files" / "clips.gguf", 0, []
    while True:
        moment += 1
        shutil.rmtree(path.parent, ignore_errors=True)
        path.parent.mkdir()
        if old is not None:
            path.write_text(old)
        killed = killed_at(moment, lambda: write(path))
        seen.append(path.read_text() if path.exists() else None)
        next_start(path)
        assert os.listdir(path.parent) == ([path.name] if seen[-1] is not None else [])
        if not killed:
            break
    assert moment > 10
    assert set(seen) == {old, "new"}
