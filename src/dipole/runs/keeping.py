"""One call that keeps the record of any verb in a folder: whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from dipole.files import staged, write_manifest
from dipole.files.paths import given_path
from dipole.runs.manifest import head, manifest
from dipole.runs.writers import Record, write

R = TypeVar("R")


def save(
    record: object, out: Path | str, overwrite: bool = False, command: Sequence[str] | None = None
) -> None:
    """Keep a record in a folder, with a page to look at and a manifest.

    Args:
        record: What `fit`, `compare_controls`, `sweep`, `check`, `diff`, `score`, `point`, `basin`, `topics`
            or `translate` gave; or an intervention, or an LM, which `load` of the folder gives again.
        out: The folder; nothing is in it before all is.
        overwrite: Replace what dipole made there before.
        command: Command line for the manifest; that of this process by default.

    Raises:
        UserError: The folder is in use or can't be written.
    """
    with keeping(out, overwrite, command) as keep:
        keep(record)


@contextmanager
def keeping(
    out: Path | str, overwrite: bool = False, command: Sequence[str] | None = None
) -> Iterator[Callable[[R], R]]:
    """A folder that is claimed before the work, so that one which can't be used is refused at once.

    The block gets a function that writes a record, and gives it back; the folder is put in place at the end.
    When the block raises, nothing has happened.

    Args:
        out: As for `save`.
        overwrite: As for `save`.
        command: As for `save`.

    Raises:
        UserError: The folder is in use or can't be written.
    """
    with staged(given_path(out, "The output folder"), overwrite) as made:

        def keep(record: R) -> R:
            if isinstance(record, Record) and record.origin is not None:
                facts = manifest(record.origin, str(out), command)
            else:
                facts = head(command)
            write(record, made, facts)
            write_manifest(made, facts)
            return record

        yield keep
