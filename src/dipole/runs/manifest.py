"""The manifest: what a run was, in enough detail to run it again."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

from dipole.files import to_plain
from dipole.origin import Origin
from dipole.shown.text import shell_line
from dipole.types import UserError

_PACKAGES = ("torch", "transformers", "peft", "accelerate", "numpy", "scikit-learn", "safetensors")


def manifest(
    origin: Origin,
    out: str | None = None,
    command: Sequence[str] | None = None,
    more: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """What reproduces a record, as plain data for `manifest.json`.

    Args:
        origin: Of the record.
        out: Output folder as the user wrote it.
        command: Arguments of the command line; those of this process by default.
        more: Further entries.

    Raises:
        UserError: An entry has the name of another one.
    """
    made = {
        **head(command),
        "out": out,
        "started": _utc(origin.started),
        "finished": _utc(origin.finished),
        "seconds": round((origin.finished - origin.started).total_seconds(), 3),
        "machine": {
            "platform": platform.platform(),
            "processor": platform.machine(),
            "cpus": os.cpu_count(),
            "device": origin.device,
            "threads": None if origin.device is None else _threads(),
        },
    }
    for entries in (origin.entries, more or {}):
        taken = sorted(set(entries) & set(made))
        if taken:
            raise UserError(f"The manifest already has {', '.join(taken)}; give the entries other names.")
        made |= entries
    plain: dict[str, Any] = to_plain(made)
    return plain


def head(command: Sequence[str] | None = None) -> dict[str, Any]:
    """What every manifest has: who made it, by which command, with which versions."""
    return {
        "made_by": "dipole",
        "format": 1,
        "command": _command_line(sys.argv if command is None else command),
        "versions": _versions(),
    }


def _versions() -> dict[str, str | None]:
    """Versions of dipole, Python and the packages that decide the numbers; None for one that is missing."""
    found: dict[str, str | None] = {"dipole": _version("dipole"), "python": platform.python_version()}
    return found | {name: _version(name) for name in _PACKAGES}


def _command_line(arguments: Sequence[str]) -> str:
    """A command line that a shell takes as it stands; the program goes by its name, not its path."""
    program, *rest = arguments or ("dipole",)
    name = os.path.basename(program)
    if name in ("__main__.py", "-m", "-c", "") or name.startswith(("pytest", "ipykernel")):
        name = "dipole"
    return shell_line([name, *rest])


def _threads() -> int:
    import torch

    return torch.get_num_threads()


def _utc(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
