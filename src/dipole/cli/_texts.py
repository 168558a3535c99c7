"""Texts from arguments, and from standard input where an argument is `-`: as they come, in bounded memory."""

from __future__ import annotations

import select
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, cast

from dipole.types import UserError

BATCH = 64
_BLOCK = 1 << 16
# What comes within this time is worked on together; a slower writer is not waited for.
_PATIENCE = 0.05


class Reader(Protocol):
    """A binary stream."""

    def read1(self, size: int, /) -> bytes:
        """What is there, at most so many bytes; waits where there is nothing, empty at the end."""
        ...


def batches_from(arguments: Sequence[str]) -> Iterator[list[str]]:
    """One text an argument; `-` stands for the lines of standard input, blank ones left out.

    Returns:
        The texts in their order, in batches. Lines come in batches of at most `BATCH`, and smaller ones where
        standard input has no more for now, so that none waits for a line that has not been written yet.

    Raises:
        UserError: `-` stands there twice, or an argument is not UTF-8 text; and, from the iterator, standard
            input is closed, holds no text, or has a line that is not UTF-8.
    """
    if list(arguments).count("-") > 1:
        raise UserError("Standard input can be read once only; give a single `-`.")
    return _batches([_checked(argument, number) for number, argument in enumerate(arguments, 1)])


def _batches(arguments: Sequence[str]) -> Iterator[list[str]]:
    at = arguments.index("-") if "-" in arguments else len(arguments)
    if arguments[:at]:
        yield list(arguments[:at])
    if at < len(arguments):
        if sys.stdin is None:
            raise UserError("Standard input is closed; give the texts as arguments, or pipe them in.")
        yield from line_batches(cast(Reader, sys.stdin.buffer), _more_to_come)
    if arguments[at + 1 :]:
        yield list(arguments[at + 1 :])


def input_lines() -> Iterator[str]:
    """The lines of standard input that are not blank, each as soon as it is there; none where it is closed.

    Raises:
        UserError: A line is not UTF-8 text.
    """
    if sys.stdin is not None:
        lines = _lines(cast(Reader, sys.stdin.buffer), lambda: True)
        yield from (line for line in lines if line is not None and line.strip())


def _checked(argument: str, number: int) -> str:
    try:
        argument.encode("utf-8")
    except UnicodeEncodeError as error:
        byte = ord(argument[error.start]) & 0xFF
        raise UserError(
            f"Text number {number} is not UTF-8 (byte 0x{byte:02x}); convert it to UTF-8."
        ) from None
    return argument


def _more_to_come() -> bool:
    """Whether standard input has something, its end included, or will within a moment."""
    try:
        return bool(select.select([sys.stdin.fileno()], [], [], _PATIENCE)[0])
    except (OSError, ValueError):  # nothing that can be waited for
        return True


def line_batches(stream: Reader, more_to_come: Callable[[], bool]) -> Iterator[list[str]]:
    """The lines of a stream that are not blank, in batches of at most `BATCH`.

    Raises:
        UserError: There are none, or one is not text; it says which line and byte.
    """
    batch: list[str] = []
    some = False
    for line in _lines(stream, lambda: not batch or more_to_come()):
        if line is not None and line.strip():
            batch.append(line)
        if batch and (line is None or len(batch) == BATCH):
            some = True
            yield batch.copy()
            batch.clear()
    if batch:
        yield batch
    elif not some:
        raise UserError("Standard input holds no text; wanted one text a line.")


def _lines(stream: Reader, go_on: Callable[[], bool]) -> Iterator[str | None]:
    """The lines of a stream, ended as on any system; None where the next one may be long in coming."""
    number, begun = 0, list[bytes]()
    while True:
        if not go_on():
            yield None
        block = stream.read1(_BLOCK)
        first, *others = block.split(b"\n")
        begun.append(first)
        for other in others:
            number += 1
            yield from _text(b"".join(begun), number).split("\r")
            begun = [other]
        if not block:
            yield from _text(b"".join(begun), number + 1).split("\r")
            return


def _text(line: bytes, number: int) -> str:
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        byte = f"the byte 0x{line[error.start]:02x}"
        raise _not_text("is not UTF-8 text", number, byte, error.start) from None
    if "\0" in text:
        raise _not_text("is binary, not text", number, "a NUL byte", line.index(b"\0"))
    return (text.removeprefix("\ufeff") if number == 1 else text).removesuffix("\r")


def _not_text(what: str, number: int, byte: str, position: int) -> UserError:
    return UserError(
        f"Standard input {what}: line {number} has {byte} at its byte {position + 1}; wanted UTF-8, one text "
        "a line."
    )
