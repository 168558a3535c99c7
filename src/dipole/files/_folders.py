"""Output folders: one command at a time, old or new but never half, and nothing of the user's replaced."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from dipole.files import _names
from dipole.files._errors import explain
from dipole.files._locks import held, is_main_process, resolved
from dipole.files._swap import MARKER, is_unsettled, mark, put_in_place, settle
from dipole.files._writing import write_json_atomic
from dipole.types import UserError

MANIFEST = "manifest.json"
CHECKPOINT = "checkpoint.safetensors"
# A run that will replace the one around it, once it is whole.
NEXT = ".dipole-next"
OWN_NAMES = (
    "adapter",
    "report.html",
    "report.md",
    "effect.json",
    "history.jsonl",
    MANIFEST,
    "dipole.toml",
    CHECKPOINT,
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


@contextmanager
def claimed(path: Path) -> Iterator[Path]:
    """A file or folder for this command alone; what was left there by one that was killed is cleared up.

    A process that only helps another one writes nothing, and claims nothing.

    Args:
        path: What will be written; the block gets it without links and dots.

    Raises:
        UserError: Another command works on it, or it can't be written.
    """
    if not is_main_process():
        yield resolved(path)
        return
    with held(path) as place:
        try:
            _clear_up(place)
            _clear_up_others(place)
        except OSError as error:
            raise explain(path, error) from error
        try:
            yield place
        finally:
            with suppress(OSError):
                _clear_up(place)


def _clear_up(place: Path) -> None:
    settle(place)
    for path in _names.found_in(_names.annexe(place)).get(_names.label(place.name), []):
        if path.name.endswith(_names.TEMPORARY):
            _remove(path)


def _clear_up_others(place: Path) -> None:
    """The same for what else was left in the folder, where nobody works on it."""
    folder = _names.annexe(place)
    for name in _names.found_in(folder):
        other = folder / name
        if other != place and _names.annexe(other) == folder:
            with suppress(UserError, OSError), held(other, patience=0):
                _clear_up(other)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def settled(folder: Path) -> None:
    """Before a folder is read: end what was broken off while it was put in place, if nobody is at it."""
    with suppress(UserError, OSError):
        if is_unsettled(resolved(folder)):
            with claimed(folder):
                pass


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
        raise UserError("Got both --overwrite and --resume; choose one: replace the run, or continue it.")
    try:
        content = _content(place)
    except NotADirectoryError:
        raise UserError(
            f"The output {folder} is a file; wanted a folder. Choose another with --out."
        ) from None
    except OSError as error:
        raise explain(folder, error) from error
    if resume and not (content and is_run(place)):
        raise UserError(f"There is no run to resume in {folder}; leave out --resume to start one there.")
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
        continued = " --resume to continue it," if resumable else ""
        raise UserError(
            f"{folder} already holds a run; add --overwrite to replace it,{continued} or choose another "
            "folder with --out."
        )
    if not ours:
        raise UserError(
            f"{folder} is not empty and was not made by dipole (it has {content[0]!r}), so it is left alone; "
            "choose another folder with --out."
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
        _make(made, folder)
        try:
            yield made
            _finish(made, place, folder, overwrite)
        finally:
            shutil.rmtree(made, ignore_errors=True)


@contextmanager
def run_folder(folder: Path, overwrite: bool = False, resume: bool = False) -> Iterator[Path]:
    """The folder in which a run that can be resumed is done; the `with` block is the whole run.

    A new run is done in `folder` itself. One that replaces another is done in a folder inside it, and takes
    its place at the end of the block; until then the old run stays. When the block raises, what can be
    resumed is kept.

    Args:
        folder: The output folder, as for `staged`.
        overwrite: Replace the run that is there.
        resume: Continue the run that was begun last.

    Raises:
        UserError: The folder is in use or can't be written; nothing was changed.
    """
    with claimed(folder) as place:
        _check(folder, place, overwrite, resume)
        work = working_folder(place) if resume else place
        if work == place:
            _remove(place / NEXT)
        if not resume and is_run(place):
            work = place / NEXT
        try:
            if not resume:
                _make(work, folder)
                mark(work)
            for left in work.rglob(f".*.{_names.TEMPORARY}"):
                _remove(left)
            yield work
        except BaseException:
            if work != place and not (work / CHECKPOINT).is_file():
                shutil.rmtree(work, ignore_errors=True)
            raise
        if work != place:
            _finish(work, place, folder, overwrite=True)


def working_folder(folder: Path) -> Path:
    """Where the run of a folder is that was begun last: in it, or in one inside it that will replace it."""
    pending = folder / NEXT
    return pending if _own_manifest(pending) else folder


def _make(made: Path, folder: Path) -> None:
    try:
        made.mkdir(exist_ok=True)
    except OSError as error:
        raise explain(folder, error) from error


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
        os.rename(made, aside)
        with suppress(UserError):
            mark(aside)
        raise UserError(f"{str(said).removesuffix('.')}; what was made now is in {aside}.") from error


def is_run(folder: Path) -> bool:
    """Whether the folder holds a run of ours: the marker file, or a manifest that we wrote."""
    return (folder / MARKER).is_file() or bool(_own_manifest(folder))


def _own_manifest(folder: Path) -> dict[str, Any]:
    """The manifest, if it is there and ours."""
    try:
        content = json.loads((folder / MANIFEST).read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) and content.get("made_by") == "dipole" else {}


def _listed(folder: Path) -> list[str]:
    """Names that our manifest lists; it can be edited, so those of nothing outside the folder."""
    listed = _own_manifest(folder).get("files")
    named = [name for name in listed if isinstance(name, str)] if isinstance(listed, list) else []
    return [name for name in named if Path(name).name == name and name not in ("", "..")]
