"""The command line: each command parses its flags, makes one call into the library, and prints."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial

from dipole.cli._console import INTERRUPTED, complain
from dipole.cli._noise import quiet_libraries
from dipole.cli._streams import drop_output, flush_output, open_streams, prepare_output_streams
from dipole.files import Ended, ended_by_signals
from dipole.types import UserError


def main() -> None:
    """Run the command line of this process; the console script `dipole`."""
    open_streams()
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code.

    0 when all went well, 2 when the user has something to put right (one sentence on standard error), 130
    after Ctrl-C, 143 after SIGTERM and 129 after SIGHUP, 141 when the reader of standard output went away.
    Errors that are nobody's input are raised.
    """
    prepare_output_streams()
    with quiet_libraries(), ended_by_signals():
        code = _code_of(partial(_invoke, arguments))
        # What is buffered goes out whatever happened: Python's own attempt at its end would be a traceback.
        return _code_of(flush_output) or code


def _code_of(work: Callable[[], int | None]) -> int:
    """Do it, and say how it ended."""
    import typer

    try:
        return work() or 0
    except UserError as error:
        return complain(str(error))
    except (KeyboardInterrupt, typer.Abort):
        return complain("Interrupted.", INTERRUPTED)
    except Ended as ended:
        return complain("Terminated.", ended.code)
    except typer.Exit as stop:
        return stop.exit_code
    except MemoryError:
        return complain(_OUT_OF_MEMORY)
    except OSError as error:
        return complain(f"{error.strerror or error}: {error.filename or 'while reading or writing'}.")
    except Exception as error:
        known = _sentence(error)
        if known is None:
            raise
        return complain(known)


_OUT_OF_MEMORY = "The memory ran out; lower --batch-size (or --micro-batch-size), or use a smaller model."


def _invoke(arguments: Sequence[str]) -> int:
    import typer.main

    from dipole.cli._app import build

    command = typer.main.get_command(build(arguments))
    try:
        result = command.main(args=list(arguments), prog_name="dipole", standalone_mode=False)
    except SystemExit as stop:
        if isinstance(stop.__context__, BrokenPipeError):  # typer's own way to end, with another code
            return drop_output()
        raise
    return result if isinstance(result, int) else 0


def _sentence(error: Exception) -> str | None:
    """What to tell the user about a usage error or a full memory; None for an error of ours."""
    if type(error).__name__ == "NoArgsIsHelpError":
        return None if not str(error) else str(error)
    if hasattr(error, "format_message"):  # typer's usage errors, whose class is not public in every version
        context = getattr(error, "ctx", None)
        where = context.command_path if context is not None else "dipole"
        return f"{error.format_message().rstrip('.')}. See `{where} --help`."
    full = type(error).__name__ == "OutOfMemoryError" or "allocate memory" in str(error)
    return _OUT_OF_MEMORY if full else None
