"""The standard streams themselves: their encoding, and readers that go away."""

from __future__ import annotations

import os
import sys

from dipole.types import UserError

READER_GONE = 141  # 128 + SIGPIPE, as shells report it


def prepare_output_streams() -> None:
    """Never fail on a character that the terminal's encoding lacks."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def finish_output(code: int) -> int:
    """Write out what is buffered, and return the exit code: that given, or that of a reader who went away."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        return drop_output()
    except OSError as error:
        raise unwritable(error) from error
    return code


def unwritable(error: OSError) -> UserError:
    """What to say when standard output can't be written, a full disk for instance; no more is written."""
    drop_output()
    return UserError(f"Can't write the results to standard output: {error.strerror}.")


def drop_output() -> int:
    """Send what is still to be printed nowhere, and return the exit code that says so."""
    # What is still buffered would fail once more when Python exits.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return READER_GONE
