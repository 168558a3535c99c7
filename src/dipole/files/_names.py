"""Names of what stands beside an artefact while it is worked on: its lock, what is being written, a swap.

Each carries the artefact's own name, so that whoever holds the artefact's lock knows that they are no one
else's, and the ending `.dipole.…`, which no file of a user has.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from contextlib import suppress
from pathlib import Path

# Of training, in the folder of its run.
CHECKPOINT, HISTORY, LESSONS = "checkpoint.safetensors", "history.jsonl", "lessons.safetensors"
LOCK, SOFT_LOCK, TEMPORARY, READY = "dipole.lock", "dipole.softlock", "dipole.tmp", "dipole.ready"
# A name can have 255 bytes, of which ours needs up to 30.
_ROOM = 200
_OURS = re.compile(r"\.(?:(.+)\.dipole\.(?:soft)?lock|(.+)\.[0-9a-f]{8}\.dipole\.(?:tmp|ready))", re.DOTALL)


def label(name: str) -> str:
    """The name, or for a very long one its beginning and a digest, so that no two share it."""
    encoded = os.fsencode(name)
    if len(encoded) <= _ROOM:
        return name
    head = encoded[: _ROOM - 40].decode("utf-8", errors="ignore")
    return f"{head}.{hashlib.sha256(encoded).hexdigest()[:32]}"


def annexe(place: Path) -> Path:
    """The folder for what stands beside `place`: the one above it, or itself where that can't be used.

    That is so for a mount point, which can't be renamed, and for a folder whose parent can't be written.
    """
    above = place.parent
    if os.path.isdir(place) and (_is_mount_point(place) or not os.access(above, os.W_OK | os.X_OK)):
        return place
    return above


def _is_mount_point(folder: Path) -> bool:
    if os.path.ismount(folder):
        return True
    with suppress(OSError):  # a folder mounted from the same file system is told by Linux alone
        lines = Path("/proc/self/mountinfo").read_bytes().splitlines()
        return any(_unescaped(line.split(b" ")[4]) == os.fsencode(folder) for line in lines)
    return False


def _unescaped(path: bytes) -> bytes:
    return re.sub(rb"\\([0-7]{3})", lambda match: bytes([int(match[1], 8)]), path)


def lock_file(place: Path, ending: str = LOCK) -> Path:
    """The lock of a file or folder."""
    return annexe(place) / f".{label(place.name)}.{ending}"


def temporary(place: Path) -> Path:
    """A new name for what will take the place of a file or folder."""
    return annexe(place) / f".{label(place.name)}.{secrets.token_hex(4)}.{TEMPORARY}"


def found_in(folder: Path) -> dict[str, list[Path]]:
    """All names of this module in a folder, by label; none where the folder can't be read."""
    found: dict[str, list[Path]] = {}
    with suppress(OSError), os.scandir(folder) as entries:
        for name in sorted(entry.name for entry in entries):
            match = _OURS.fullmatch(name)
            if match:
                found.setdefault(match[1] or match[2], []).append(folder / name)
    return found


def is_one(name: str) -> bool:
    """Whether it is a name of this module."""
    return _OURS.fullmatch(name) is not None
