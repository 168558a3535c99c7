"""Output folders: what is refused, what is replaced, and what stays although a run replaces it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from dipole.files import (
    CHECKPOINT,
    MARKER,
    _writing,
    check_output,
    is_run,
    run_folder,
    staged,
    working_folder,
    write_json_atomic,
    write_manifest,
    write_text_atomic,
)
from dipole.files._folders import NEXT
from dipole.types import UserError


def run(folder: Path, *names: str, overwrite: bool = False, resume: bool = False) -> None:
    """A run that writes files of these names, each holding its own."""
    with run_folder(folder, overwrite, resume) as work:
        for name in names:
            write_text_atomic(work / name, name)
        write_json_atomic(work / "manifest.json", {"made_by": "dipole"})


def stage(folder: Path, *names: str, overwrite: bool = True) -> None:
    with staged(folder, overwrite) as made:
        for name in names:
            (made / name).write_text("ours")
        write_manifest(made, {"made_by": "dipole"})


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_output_is_made_and_then_refused(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "clips"
    run(folder, "report.html")
    assert is_run(folder)
    with pytest.raises(UserError, match="overwrite=True to replace it, resume=True"):
        check_output(folder, resume=False)
    with pytest.raises(UserError, match="overwrite=True to replace it, or choose another folder"):
        stage(folder, overwrite=False)
    run(folder, resume=True)
    assert names_in(tmp_path / "runs") == ["clips"]
    assert names_in(folder) == [MARKER, "manifest.json", "report.html"]


@pytest.mark.parametrize("write", [run, stage])
def test_an_empty_folder_is_taken_and_stays_the_same(write: object, tmp_path: Path) -> None:
    folder = tmp_path / "private"
    folder.mkdir(mode=0o700)
    write(folder, "report.html")  # type: ignore[operator]
    assert is_run(folder)
    assert folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("options", [{}, {"overwrite": True}, {"resume": True}])
def test_a_foreign_folder_is_left_alone(tmp_path: Path, options: dict[str, bool]) -> None:
    (tmp_path / "report.md").write_text("mine")
    (tmp_path / "manifest.json").write_text('{"name": "a web app"}')
    with pytest.raises(UserError, match=r"left alone|no run to resume"):
        run(tmp_path, **options)
    assert names_in(tmp_path) == ["manifest.json", "report.md"]
    assert (tmp_path / "report.md").read_text() == "mine"


@pytest.mark.parametrize("mark", [MARKER, "manifest.json"])
def test_replacing_removes_only_what_is_ours(tmp_path: Path, mark: str) -> None:
    folder, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    for path in (folder / "adapter", elsewhere):
        path.mkdir(parents=True)
        (path / "weights").write_text("w")
    (folder / mark).write_text('{"made_by": "dipole"}')
    (folder / "report.html").write_text("old")
    (folder / "notes.txt").write_text("mine")
    (folder / ".git").mkdir()
    (folder / "tensorboard").symlink_to(elsewhere, target_is_directory=True)
    run(folder, "effect.json", overwrite=True)
    assert names_in(folder) == [MARKER, ".git", "effect.json", "manifest.json", "notes.txt"]
    assert (elsewhere / "weights").read_text() == "w"
    assert names_in(tmp_path) == ["elsewhere", "run"]


def test_replacing_removes_what_the_manifest_lists_inside_the_folder_alone(tmp_path: Path) -> None:
    outside = tmp_path / "thesis.tex"
    outside.write_text("mine")
    folder = tmp_path / "run"
    folder.mkdir()
    names = ["dipole.json", "parts", "../thesis.tex", str(outside), "..", ".", "", 3, "gone"]
    (folder / "dipole.json").write_text("{}")
    (folder / "notes.md").write_text("mine")
    write_text_atomic(folder / "parts" / "a", "x")
    write_json_atomic(folder / "manifest.json", {"made_by": "dipole", "files": names})
    run(folder, overwrite=True)
    assert names_in(folder) == [MARKER, "manifest.json", "notes.md"]
    assert outside.read_text() == "mine"


def test_the_old_run_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run(folder, "report.html")
    with run_folder(folder, overwrite=True) as work:
        (work / CHECKPOINT).write_text("half way")
        assert (folder / "report.html").read_text() == "report.html"
        assert not (work / "report.html").exists()
    assert not (folder / "report.html").exists()
    assert (folder / CHECKPOINT).read_text() == "half way"
    assert names_in(tmp_path) == ["run"]


def test_a_replacing_run_that_fails_leaves_the_old_one_and_can_be_resumed(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run(folder, "report.html")
    with pytest.raises(RuntimeError), run_folder(folder, overwrite=True):
        raise RuntimeError("before the first checkpoint")
    assert not (folder / NEXT).exists()

    def begin() -> None:
        with run_folder(folder, overwrite=True) as work:
            write_json_atomic(work / "manifest.json", {"made_by": "dipole", "seed": 2})
            (work / CHECKPOINT).write_text("half way")
            (work / f".{CHECKPOINT}.0123abcd.dipole.tmp").write_text("cut o")
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        begin()
    assert (folder / "report.html").read_text() == "report.html"
    assert working_folder(folder) == folder / NEXT
    with run_folder(folder, resume=True) as work:
        assert (work / CHECKPOINT).read_text() == "half way"
        assert not list(work.glob("*.tmp"))
        write_text_atomic(work / "effect.json", "new")
    assert names_in(folder) == [MARKER, CHECKPOINT, "effect.json", "manifest.json"]
    assert names_in(tmp_path) == ["run"]


def test_replacing_that_can_not_write_removes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    run(folder, "report.html")

    def fail(path: Path, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    for replace in (run, stage):
        with monkeypatch.context() as patch:
            patch.setattr(_writing, "_write_synced", fail)
            with pytest.raises(UserError, match="disk is full"):
                replace(folder, overwrite=True)
        assert (folder / "report.html").read_text() == "report.html"
        assert names_in(folder) == [MARKER, "manifest.json", "report.html"]


def test_nothing_to_resume(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no run to resume"):
        run(tmp_path / "deep" / "new", resume=True)
    assert names_in(tmp_path) == []  # nor a folder above it


def test_wishes_that_exclude_each_other(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="choose one"):
        check_output(tmp_path, overwrite=True, resume=True)


def test_output_that_is_a_file_or_below_one(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(UserError, match="is a file"):
            run(folder)


def test_links_that_go_round_in_a_circle(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(UserError, match="in a circle"):
        check_output(tmp_path / "a")


def test_a_file_of_the_user_is_not_replaced_although_it_has_our_name(tmp_path: Path) -> None:
    stage(tmp_path / "run", "report.html", "basin.json")
    stage(tmp_path / "run", "report.html")  # what the manifest lists is replaced
    mine = tmp_path / "run" / "basin.json"
    assert not mine.exists()
    mine.write_text("mine")
    with pytest.raises(UserError, match=r"a file 'basin.json' that dipole did not write there"):
        stage(tmp_path / "run", "basin.json")
    assert mine.read_text() == "mine"
    assert (tmp_path / "run" / "report.html").is_file()
    (aside,) = (path for path in tmp_path.iterdir() if path.name != "run")  # the work is not lost
    assert (aside / "basin.json").read_text() == "ours"


def test_work_is_kept_where_somebody_has_written_into_the_folder_meanwhile(tmp_path: Path) -> None:
    def write() -> None:
        with staged(tmp_path / "run") as made:
            (made / "report.html").write_text("ours")
            (tmp_path / "run").mkdir()
            (tmp_path / "run" / "notes.txt").write_text("mine")

    with pytest.raises(UserError, match=r"not made by dipole.*what was made now is in"):
        write()
    (aside,) = (path for path in tmp_path.iterdir() if path.name != "run")
    assert (aside / "report.html").read_text() == "ours"
    assert names_in(tmp_path / "run") == ["notes.txt"]


def test_the_working_directory_can_be_the_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shell that stands in the folder must not find itself in one that was removed."""
    stage(tmp_path / "run", "old.json")
    (tmp_path / "run" / "notes.txt").write_text("mine")
    monkeypatch.chdir(tmp_path / "run")
    before = os.stat(".").st_ino
    stage(Path(), "new.json")
    assert os.stat(".").st_ino == before == (tmp_path / "run").stat().st_ino
    assert names_in(Path()) == [MARKER, "manifest.json", "new.json", "notes.txt"]
    assert names_in(tmp_path) == ["run"]


def test_a_folder_that_can_not_be_renamed_is_written_from_inside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mount point, such as a container's volume, and a folder below one that can't be written."""
    volume = tmp_path / "volume"
    volume.mkdir()
    monkeypatch.setattr(os.path, "ismount", lambda path: Path(path) == volume)
    stage(volume, "old.json")
    (volume / "notes.txt").write_text("mine")
    with staged(volume, overwrite=True) as made:
        assert made.parent == volume
        (made / "new.json").write_text("ours")
        write_manifest(made, {"made_by": "dipole"})
    assert names_in(volume) == [MARKER, "manifest.json", "new.json", "notes.txt"]
    run(volume, "report.html", overwrite=True)
    assert names_in(volume) == [MARKER, "manifest.json", "notes.txt", "report.html"]
    assert names_in(tmp_path) == ["volume"]


def test_a_process_that_only_helps_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    stage(tmp_path / "run", "report.html")
    check_output(tmp_path / "run")
    assert names_in(tmp_path) == []
