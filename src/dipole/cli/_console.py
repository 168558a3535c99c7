"""What reaches the user: results on standard output, everything else on standard error."""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from dipole.cli._streams import drop_output, unwritable
from dipole.files import is_main_process, to_plain
from dipole.shown.terminal import escaped, visible

if TYPE_CHECKING:
    from rich.console import Console

USER_ERROR = 2
INTERRUPTED = 130  # 128 + SIGINT, as shells report it
_LONGEST = 2000  # characters of an error that echoes what was given
# Library errors name an argument as Python has it, out=…, overwrite=True, plain=True, or begin with it, as in
# `lr must be …`: other sentences begin with a capital.
_ARGUMENT = re.compile(r"(?<![^\s(])([a-z_]+)=(?:(…|True|False)|'([^']*)'|\"([^\"]*)\")")
_SUBJECT = re.compile(r"^[a-z_]+(?= must be )")


def emit(text: str, raw: bool = False) -> None:
    """Print a result; on a terminal its control characters are made harmless, unless it is `raw`."""
    import typer

    if not is_main_process():
        return
    try:
        print(text if raw or not sys.stdout.isatty() else visible(text))
    except BrokenPipeError:
        raise typer.Exit(drop_output()) from None
    except OSError as error:
        raise unwritable(error) from error


def emit_json(value: Any) -> None:
    """Print one JSON object on one line; NaN becomes null."""
    utf8 = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    line = json.dumps(to_plain(value), ensure_ascii=not utf8, allow_nan=False)
    emit(escaped(line), raw=True)


def emit_drawn(draw: Callable[[Console], None]) -> None:
    """Print what `draw` puts on a console, with colours where standard output is a terminal."""
    from rich.console import Console

    console = Console(file=sys.stdout)
    with console.capture() as printed:
        draw(console)
    emit(printed.get().rstrip("\n"), raw=True)


def tell(text: str) -> None:
    """Print something that is not a result."""
    if is_main_process():
        print(visible(text), file=sys.stderr, flush=True)


def complain(message: str, code: int = USER_ERROR) -> int:
    """Print an error or a warning as one line, and return its exit code.

    Arguments are spelled as flags; the middle is left out where the line is very long.
    """
    message = spelled(message)
    if len(message) > _LONGEST:
        message = f"{message[: _LONGEST // 2]} […] {message[-_LONGEST // 2 :]}"
    tell("dipole: " + " ".join(line.strip() for line in message.splitlines() if line.strip()))
    return code


def flag(name: str) -> str:
    """How an argument is spelled on the command line."""
    return f"-{name}" if len(name) == 1 else f"--{name.replace('_', '-')}"


def spelled(message: str) -> str:
    """A message of the library with its arguments as flags of the command line."""

    def one(found: re.Match[str]) -> str:
        name, value = found[1], found[3] or found[4]
        if found[2] == "False":
            return f"--no-{name.replace('_', '-')}"
        return f"{flag(name)} {shlex.quote(value)}" if value else flag(name)

    return _ARGUMENT.sub(one, _SUBJECT.sub(lambda found: flag(found[0]), message))
