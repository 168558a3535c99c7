"""What went wrong while writing, in words."""

from __future__ import annotations

import errno
from pathlib import Path

from dipole.types import UserError

_ADVICE = {
    errno.ENOSPC: "the disk is full; free some space or choose another folder with out=…",
    errno.EDQUOT: "the disk quota is used up; free some space or choose another folder with out=…",
    errno.EROFS: "the file system is read-only; choose another folder with out=…",
    errno.EACCES: "permission is denied; choose a folder that you may write to with out=…",
    errno.EPERM: "permission is denied; choose a folder that you may write to with out=…",
    errno.ENOTDIR: "a part of the path is a file, not a folder; choose another folder with out=…",
    errno.EEXIST: "a part of the path is a file, not a folder; choose another folder with out=…",
    errno.EISDIR: "it is a folder; move it away or choose another name",
    errno.ELOOP: "its links go round in a circle; choose another folder with out=…",
    errno.ENAMETOOLONG: "the name is too long; choose a shorter one",
}


def explain(path: Path, error: OSError) -> UserError:
    """What went wrong while writing `path`, as one sentence that says what to do."""
    default = f"{error.strerror or error}; choose another folder with out=…"
    advice = _ADVICE.get(error.errno or 0, default)
    return UserError(f"Can't write {path}: {advice}.")
