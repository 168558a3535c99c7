"""Writing to disk: atomically, never over what is not ours, with one clear sentence when it fails."""

from __future__ import annotations

import dataclasses
import errno
import json
import math
import numbers
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dipole.reading import inside, read_json
from dipole.types import UserError

MARKER = ".dipole-run"
MANIFEST = "manifest.json"
# What makes a folder one that can be loaded; put in place after everything else.
_LAST = ("adapter_config.json", "dipole.json", "lm.json", "recognizer.json", MANIFEST)
OWN_NAMES = (
    "adapter",
    "report.html",
    "report.md",
    "effect.json",
    "history.jsonl",
    MANIFEST,
    "dipole.toml",
    "checkpoint.safetensors",
    "tensorboard",
)

_ADVICE = {
    errno.ENOSPC: "the disk is full; free some space or choose another folder with --out",
    errno.EDQUOT: "the disk quota is used up; free some space or choose another folder with --out",
    errno.EROFS: "the file system is read-only; choose another folder with --out",
    errno.EACCES: "permission is denied; choose a folder that you may write to with --out",
    errno.EPERM: "permission is denied; choose a folder that you may write to with --out",
    errno.ENOTDIR: "a part of the path is a file, not a folder; choose another folder with --out",
    errno.EEXIST: "a part of the path is a file, not a folder; choose another folder with --out",
    errno.EISDIR: "it is a folder; move it away or choose another name",
    errno.ENAMETOOLONG: "the name is too long; choose a shorter one",
}


def explain(path: Path, error: OSError) -> UserError:
    """What went wrong while writing `path`, as one sentence that says what to do."""
    default = f"{error.strerror or error}; choose another folder with --out"
    advice = _ADVICE.get(error.errno or 0, default)
    return UserError(f"Can't write {path}: {advice}.")


def write_text_atomic(path: Path, text: str) -> None:
    """Write a text file in UTF-8 so that a reader sees the old file or the new one, never a part.

    Lone surrogates, which UTF-8 can't hold, are written as backslash escapes.

    Raises:
        UserError: The disk is full, the folder can't be written, …; an older file is left intact.
    """
    write_bytes_atomic(path, text.encode("utf-8", errors="backslashreplace"))


def write_json_atomic(path: Path, value: Any) -> None:
    """Write strict JSON: dataclasses become objects, paths strings, and NaN or infinity null.

    Raises:
        UserError: As for `write_text_atomic`.
    """
    plain = to_plain(value)
    text = json.dumps(plain, indent=2, ensure_ascii=False, allow_nan=False)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        text = json.dumps(plain, indent=2, ensure_ascii=True, allow_nan=False)
    write_text_atomic(path, text + "\n")


def write_bytes_atomic(path: Path, data: bytes) -> None:
    """Write a file through a temporary sibling, synced to disk before it takes the name.

    Raises:
        UserError: As for `write_text_atomic`.
    """
    temporary = path.with_name(f".{path.name[:100]}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            _write_synced(temporary, data)
            os.replace(temporary, path)
        finally:
            # After os.replace there is nothing left under this name.
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise explain(path, error) from error


def _write_synced(path: Path, data: bytes) -> None:
    with path.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def to_plain(value: Any) -> Any:
    """The value as what JSON can hold; see `write_json_atomic`. Anything unknown becomes its `str`."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):  # numpy's scalars too
        return float(value) if math.isfinite(value) else None
    if isinstance(value, set | frozenset):
        return [to_plain(item) for item in sorted(value, key=str)]
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        return [to_plain(item) for item in value]
    return str(value)


def write_manifest(folder: Path, facts: Mapping[str, Any]) -> None:
    """Write `manifest.json` with the names of all files of the folder; call it last.

    Raises:
        UserError: As for `write_text_atomic`.
    """
    files = sorted({*(path.name for path in folder.iterdir()), MANIFEST})
    write_json_atomic(folder / MANIFEST, {**facts, "files": files})


def prepare_output(folder: Path, overwrite: bool = False, resume: bool = False) -> None:
    """Make an output folder ready, before any work is done.

    A new or empty folder gets a marker file, `.dipole-run`. A folder with anything in it is refused,
    unless it holds a run of ours (the marker, or our `manifest.json`) and the user asked to continue or
    to replace it. Replacing removes the names in `OWN_NAMES`, the files that our manifest lists, and nothing
    else.

    Args:
        folder: The output folder.
        overwrite: Replace the run that is there.
        resume: Continue the run that is there.

    Raises:
        UserError: The folder is in use or can't be written; nothing was changed.
    """
    check_output(folder, overwrite, resume)
    _mark(folder)
    if overwrite:
        _remove_own(folder)


def check_output(folder: Path, overwrite: bool = False, resume: bool | None = None) -> None:
    """Refuse what `prepare_output` would refuse; nothing is changed.

    Args:
        folder: The output folder.
        overwrite: Replace the run that is there.
        resume: Continue the run that is there; None where there is no such thing.

    Raises:
        UserError: The folder is in use or can't be read.
    """
    if overwrite and resume:
        raise UserError("Got both --overwrite and --resume; choose one: replace the run, or continue it.")
    try:
        content = sorted(p.name for p in folder.iterdir()) if folder.exists() else []
    except NotADirectoryError:
        raise UserError(
            f"The output {folder} is a file; wanted a folder. Choose another with --out."
        ) from None
    except OSError as error:
        raise explain(folder, error) from error
    if resume and not (content and is_run(folder)):
        raise UserError(f"There is no run to resume in {folder}; leave out --resume to start one there.")
    if content and not resume:
        _check_replaceable(folder, overwrite, content, resumable=resume is not None)


def check_stageable(folder: Path) -> None:
    """Refuse, before any work is done, where `staged` would find no place; nothing is changed.

    Raises:
        UserError: The nearest folder above that there is can't be written.
    """
    above = folder.resolve().parent
    while not above.exists():
        above = above.parent
    if not os.access(above, os.W_OK | os.X_OK):
        raise explain(folder, PermissionError(errno.EACCES, os.strerror(errno.EACCES)))


@contextmanager
def staged(folder: Path, overwrite: bool = False) -> Iterator[Path]:
    """A new folder to write into, which is put in place of `folder` at the end of the `with` block.

    So `folder` never holds half of something, what it held before stays until then, and a folder that can't
    be written is found out before any work is done. When the block raises, nothing has happened. Where a file
    would be replaced that is not ours, the new folder stays beside it.

    Args:
        folder: The output folder; refused as by `prepare_output`.
        overwrite: Replace the run that is there.

    Raises:
        UserError: The folder is in use or can't be written.
    """
    check_output(folder, overwrite)
    place = folder.resolve()
    made = place.with_name(f".{place.name[:100]}.{secrets.token_hex(4)}.tmp")
    try:
        made.parent.mkdir(parents=True, exist_ok=True)
        made.mkdir()
    except OSError as error:
        raise explain(folder, error) from error
    try:
        yield made
        try:
            _put_in_place(made, place, overwrite)
        except OSError as error:
            raise explain(folder, error) from error
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _put_in_place(made: Path, place: Path, overwrite: bool) -> None:
    if not place.exists():
        _mark(made)
        os.rename(made, place)
        return
    _refuse_foreign(made, place)
    prepare_output(place, overwrite=overwrite)
    for path in sorted(made.iterdir(), key=lambda path: (path.name in _LAST, path.name)):
        os.replace(path, place / path.name)


def _refuse_foreign(made: Path, place: Path) -> None:
    """Do not replace a file that dipole did not put there, whatever was asked for; keep what was made."""
    ours = {*OWN_NAMES, MARKER, *_listed(place)}
    names = sorted(path.name for path in made.iterdir() if path.name not in ours)
    foreign = [name for name in names if (place / name).exists()]
    if foreign:
        aside = place.with_name(f"{place.name}-{secrets.token_hex(4)}")
        _mark(made)
        os.rename(made, aside)
        raise UserError(
            f"{place} has a file {foreign[0]!r} that dipole did not write there, so it is left alone; what "
            f"was made now is in {aside}."
        )


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


def _check_replaceable(folder: Path, overwrite: bool, content: Sequence[str], resumable: bool) -> None:
    ours = is_run(folder)
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


def _mark(folder: Path) -> None:
    """Write the marker, which also finds out now whether the folder can be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise explain(folder, error) from error
    write_text_atomic(folder / MARKER, "This folder is the output of a dipole run.\n")


def _remove_own(folder: Path) -> None:
    for name in (*OWN_NAMES, *_listed(folder)):
        path = folder / name
        try:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        except OSError as error:
            raise explain(path, error) from error
