"""Keeps the chatter of libraries away from the user, and shows our own warnings as one line each."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from dipole.cli._console import complain
from dipole.types import DipoleWarning

# Read by the libraries when they are imported; a user who has set one keeps it.
_QUIET = {
    "ACCELERATE_LOG_LEVEL": "error",
    "HF_HUB_VERBOSITY": "error",
    "TORCH_CPP_LOG_LEVEL": "ERROR",
    "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
}


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Silence library warnings for the length of a `with` block, unless Python was started with -W."""
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    if not sys.stderr.isatty():  # somebody who watches is shown how far a download is
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    seen: set[str] = set()

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if not issubclass(category, DipoleWarning):
            default(message, category, filename, lineno, file, line)
        elif str(message) not in seen:
            seen.add(str(message))
            complain(f"warning: {message}")

    with warnings.catch_warnings():
        default: Any = warnings.showwarning
        if not sys.warnoptions:
            warnings.simplefilter("ignore")
        warnings.simplefilter("always", DipoleWarning)
        warnings.showwarning = show
        yield


def hide_progress_bars() -> None:
    """Hide the bar that transformers draws while it loads weights; imports transformers."""
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
