"""What is drawn with rich, as a result."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from dipole.cli._console import emit

if TYPE_CHECKING:
    from rich.console import Console


def emit_drawn(draw: Callable[[Console], None]) -> None:
    """Print what `draw` puts on a console, with colours where standard output is a terminal."""
    from rich.console import Console

    console = Console(file=sys.stdout)
    with console.capture() as printed:
        draw(console)
    emit(printed.get().rstrip("\n"), raw=True)
