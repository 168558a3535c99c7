"""The standard streams themselves: their encoding, streams that are closed, and readers that go away."""

from __future__ import annotations

import io
import os
import sys
from typing import Any

from dipole.types import UserError

READER_GONE = 141  # 128 + SIGPIPE, as shells report it


class _Forgiving(io.FileIO):
    """Standard error, which nobody may be reading: what can't be written there is no reason to stop."""

    def write(self, data: Any) -> int:
        """Write, or from the first failure on drop."""
        try:
            return super().write(data) or 0
        except OSError:
            _send_nowhere(self.fileno())
            return len(data)


def open_streams() -> None:
    """Take over the standard streams of this process, and open those that were closed when it began.

    A descriptor that is free would be given to the next file that is opened, and whatever prints would write
    into that. A closed standard output is like a pipe that nobody reads.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            _stand_in(descriptor)
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - for good
    raw = _Forgiving(2, "w", closefd=False)
    encoding = getattr(sys.stderr, "encoding", None) or "utf-8"
    sys.stderr = io.TextIOWrapper(io.BufferedWriter(raw), encoding, line_buffering=True)


def _stand_in(descriptor: int) -> None:
    """Give a closed descriptor something that behaves as its absence should."""
    if descriptor == 1:
        read, write = os.pipe()
        os.close(read)
        os.dup2(write, descriptor)
        if write != descriptor:
            os.close(write)
    else:
        _send_nowhere(descriptor)


def _send_nowhere(descriptor: int) -> None:
    nowhere = os.open(os.devnull, os.O_RDWR)
    if nowhere != descriptor:
        os.dup2(nowhere, descriptor)
        os.close(nowhere)


def prepare_output_streams() -> None:
    """Never fail on a character that the terminal's encoding lacks."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def flush_output() -> None:
    """Write out what is buffered.

    Raises:
        typer.Exit: The reader went away.
        UserError: It can't be written, on a full disk for instance.
    """
    import typer

    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise typer.Exit(drop_output()) from None
    except OSError as error:
        raise unwritable(error) from error


def unwritable(error: OSError) -> UserError:
    """What to say when standard output can't be written, a full disk for instance; no more is written."""
    drop_output()
    return UserError(f"Can't write the results to standard output: {error.strerror}.")


def drop_output() -> int:
    """Send what is still to be printed nowhere, and return the exit code that says so."""
    # What is still buffered would fail once more when Python exits.
    _send_nowhere(sys.stdout.fileno())
    return READER_GONE
