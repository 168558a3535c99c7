"""Output folders: one command at a time, old or new but never half, and nothing of the user's replaced."""

from __future__ import annotations

import filecmp
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from dipole.files import _names
from dipole.files._claims import claimed, remove
from dipole.files._errors import explain
from dipole.files._locks import is_main_process
from dipole.files._names import CHECKPOINT, HISTORY, LESSONS
from dipole.files._swap import MARKER, mark, put_in_place
from dipole.files._writing import write_json_atomic
from dipole.files.reader import inside, read_json
from dipole.types import UserError

MANIFEST = "manifest.json"
RESULT = "effect.json"
# What a run is continued from; the manifest last, by which it is known as one that can be.
_STATE = (CHECKPOINT, HISTORY, LESSONS, "tensorboard", "dipole.toml", MANIFEST)
# A run that will replace the one around it, once it is whole.
NEXT = ".dipole-next"
OWN_NAMES = (
    "adapter",
    "report.html",
    "report.md",
    RESULT,
    HISTORY,
    MANIFEST,
    "dipole.toml",
    CHECKPOINT,
    LESSONS,
    "tensorboard",
    MARKER,
    NEXT,
)


def write_manifest(folder: Path, facts: Mapping[str, Any]) -> None:
    """Write `manifest.json` with the names of all files of the folder; call it last.

    Raises:
        UserError: As for `write_text_atomic`.
    """
    files = sorted({*(path.name for path in folder.iterdir()), MANIFEST})
    write_json_atomic(folder / MANIFEST, {**facts, "files": files})


def check_output(folder: Path, overwrite: bool = False, resume: bool | None = None) -> None:
    """Refuse what `staged` or `run_folder` would refuse, before any work is done; nothing is changed.

    Args:
        folder: The output folder.
        overwrite: Replace the run that is there.
        resume: Continue the run that is there; None where there is no such thing.

    Raises:
        UserError: The folder is in use, or can't be written.
    """
    if is_main_process():
        with claimed(folder) as place:
            _check(folder, place, overwrite, resume)


def _check(folder: Path, place: Path, overwrite: bool, resume: bool | None = None) -> None:
    if overwrite and resume:
        raise UserError("Got overwrite=True and resume=True; choose one: replace the run, or continue it.")
    try:
        content = _content(place)
    except NotADirectoryError:
        raise UserError(
            f"The output {folder} is a file; wanted a folder. Choose another with out=…."
        ) from None
    except OSError as error:
        raise explain(folder, error) from error
    if resume and not (content and is_run(place)):
        raise UserError(f"There is no run to resume in {folder}; leave out resume=True to start one there.")
    if content and not resume:
        _check_replaceable(folder, place, overwrite, content, resumable=resume is not None)


def _content(place: Path) -> list[str]:
    if not place.exists():
        return []
    return sorted(name for name in os.listdir(place) if not _names.is_one(name))


def _check_replaceable(
    folder: Path, place: Path, overwrite: bool, content: Sequence[str], resumable: bool
) -> None:
    ours = is_run(place)
    if not overwrite and ours:
        continued = " resume=True to continue it," if resumable else ""
        raise UserError(
            f"{folder} already holds a run; add overwrite=True to replace it,{continued} or choose another "
            "folder with out=…."
        )
    if not ours:
        raise UserError(
            f"{folder} is not empty and was not made by dipole (it has {content[0]!r}), so it is left alone; "
            "choose another folder with out=…."
        )


@contextmanager
def staged(folder: Path, overwrite: bool = False) -> Iterator[Path]:
    """A new folder to write into, which is put in place of `folder` at the end of the `with` block.

    So `folder` never holds half of something, what it held before stays until then, and a folder that can't
    be written is found out before any work is done. When the block raises, nothing has happened. Where a file
    would be replaced that is not ours, the new folder stays beside it. No other command can write there
    meanwhile. A process that only helps another one gets a folder that is thrown away.

    Args:
        folder: The output folder: new, empty, or a run of ours (the marker, or our `manifest.json`).
        overwrite: Replace the run that is there: the names in `OWN_NAMES` and those that our manifest lists.

    Raises:
        UserError: The folder is in use or can't be written.
    """
    if not is_main_process():
        with tempfile.TemporaryDirectory() as scratch:
            yield Path(scratch)
        return
    with claimed(folder) as place:
        _check(folder, place, overwrite)
        made = _names.temporary(place)
        try:
            try:
                made.mkdir()
            except OSError as error:
                raise explain(folder, error) from error
            yield made
            _finish(made, place, folder, overwrite)
        finally:
            shutil.rmtree(made, ignore_errors=True)


@contextmanager
def run_folder(folder: Path, overwrite: bool = False, resume: bool = False) -> Iterator[Path]:
    """The folder in which a run that can be resumed is done; the `with` block is the whole run.

    A new run is done in `folder` itself. One that replaces another, or goes on from one that has a result, is
    done in a folder inside it, and takes its place at the end of the block; until then the old run stays.
    When the block raises, what can be resumed is kept.

    Args:
        folder: The output folder, as for `staged`.
        overwrite: Replace the run that is there.
        resume: Continue the run that was begun last.

    Raises:
        UserError: The folder is in use or can't be written; nothing was changed.
    """
    with claimed(folder) as place:
        _check(folder, place, overwrite, resume)
        try:
            try:
                work = _begun(place, resume)
            except OSError as error:
                raise explain(folder, error) from error
            yield work
        except BaseException:
            if working_folder(place) == place or not _is_ahead(place / NEXT, place):
                remove(place / NEXT)
            raise
        if work != place:
            _finish(work, place, folder, overwrite=True)


def _begun(place: Path, resume: bool) -> Path:
    """The folder to work in, ready for that."""
    work = working_folder(place) if resume else place / NEXT if is_run(place) else place
    if not resume or work == place:
        remove(place / NEXT)
    again = resume and work == place and (place / RESULT).is_file()
    if again:
        work = place / NEXT
    if again or not resume:
        work.mkdir(exist_ok=True)
        mark(work)
    if again:
        for name in _STATE:
            _copy(place / name, work / name)
    for left in work.rglob(f".*.{_names.TEMPORARY}"):
        remove(left)
    return work


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target)
    elif source.is_file():
        shutil.copy2(source, target)


def _is_ahead(work: Path, place: Path) -> bool:
    """Whether something was done in the folder of a new run that the old one does not have."""
    new, old = work / CHECKPOINT, place / CHECKPOINT
    return new.is_file() and not (old.is_file() and filecmp.cmp(new, old))


def working_folder(folder: Path) -> Path:
    """Where the run of a folder is that was begun last: in it, or in one inside it that will replace it."""
    pending = folder / NEXT
    return pending if _own_manifest(pending) else folder


def _finish(made: Path, place: Path, folder: Path, overwrite: bool) -> None:
    """Put what was made in place; where that can't be, keep it beside it."""
    try:
        _check(folder, place, overwrite)  # again: others than dipole may have written there since
        ours = {*OWN_NAMES, *_listed(place)}
        names = sorted(path.name for path in made.iterdir())
        foreign = [name for name in names if name not in ours and os.path.lexists(place / name)]
        if foreign:
            raise UserError(
                f"{place} has a file {foreign[0]!r} that dipole did not write there, so it is left alone."
            )
        put_in_place(made, place, ours)
    except (UserError, OSError) as error:
        said = error if isinstance(error, UserError) else explain(folder, error)
        if not made.exists():  # on its way; the next command goes on with it
            raise said from error
        aside = place.with_name(f"{place.name}-{secrets.token_hex(4)}")
        try:
            os.rename(made, aside)
        except OSError:  # nothing can be written there any more
            raise said from error
        with suppress(UserError):
            mark(aside)
        raise UserError(f"{str(said).removesuffix('.')}; what was made now is in {aside}.") from error


def is_run(folder: Path) -> bool:
    """Whether the folder holds a run of ours: the marker file, or a manifest that we wrote."""
    return (folder / MARKER).is_file() or bool(_own_manifest(folder))


def _own_manifest(folder: Path) -> dict[str, Any]:
    """The manifest, if it is there and ours."""
    try:
        content = read_json(inside(folder, MANIFEST))
    except UserError:
        return {}
    return content if isinstance(content, dict) and content.get("made_by") == "dipole" else {}


def _listed(folder: Path) -> list[str]:
    """Names that our manifest lists; it can be edited, so those of nothing outside the folder."""
    listed = _own_manifest(folder).get("files")
    named = [name for name in listed if isinstance(name, str)] if isinstance(listed, list) else []
    return [name for name in named if Path(name).name == name and name not in ("", "..")]
