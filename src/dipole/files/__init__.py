"""Writing to disk: whole or not at all, one at a time, never over a user's file, and nothing left behind."""

from __future__ import annotations

from dipole.files._claims import claimed, settled
from dipole.files._errors import explain
from dipole.files._folders import (
    MANIFEST,
    OWN_NAMES,
    check_output,
    is_run,
    run_folder,
    staged,
    working_folder,
    write_manifest,
)
from dipole.files._locks import is_main_process
from dipole.files._names import CHECKPOINT, HISTORY, LESSONS
from dipole.files._signals import Ended, code_of, ended_by_signals
from dipole.files._swap import MARKER
from dipole.files._writing import (
    to_plain,
    write_bytes_atomic,
    write_json_atomic,
    write_text_atomic,
    writing_text,
)

__all__ = [
    "CHECKPOINT",
    "HISTORY",
    "LESSONS",
    "MANIFEST",
    "MARKER",
    "OWN_NAMES",
    "Ended",
    "check_output",
    "claimed",
    "code_of",
    "ended_by_signals",
    "explain",
    "is_main_process",
    "is_run",
    "run_folder",
    "settled",
    "staged",
    "to_plain",
    "working_folder",
    "write_bytes_atomic",
    "write_json_atomic",
    "write_manifest",
    "write_text_atomic",
    "writing_text",
]
