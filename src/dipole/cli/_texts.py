"""Texts from arguments, and from standard input where an argument is `-`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from dipole.types import UserError


def texts_from(arguments: Sequence[str]) -> list[str]:
    """One text an argument; `-` stands for the lines of standard input, blank ones left out.

    Raises:
        UserError: `-` stands there twice, or an argument or standard input is not UTF-8 text.
    """
    if list(arguments).count("-") > 1:
        raise UserError("Standard input can be read once only; give a single `-`.")
    texts: list[str] = []
    for number, argument in enumerate(arguments, 1):
        if argument == "-":
            texts.extend(_standard_input())
        else:
            texts.append(_checked(argument, number))
    return texts


def _checked(argument: str, number: int) -> str:
    try:
        argument.encode("utf-8")
    except UnicodeEncodeError as error:
        byte = ord(argument[error.start]) & 0xFF
        raise UserError(
            f"Text number {number} is not UTF-8 (byte 0x{byte:02x}); convert it to UTF-8."
        ) from None
    return argument


def _standard_input() -> list[str]:
    if sys.stdin is None:
        raise UserError("Standard input is closed; give the texts as arguments, or pipe them in.")
    return lines_of(sys.stdin.buffer.read())


def lines_of(data: bytes) -> list[str]:
    """The lines of UTF-8 bytes that are not blank.

    Raises:
        UserError: There are none, or the bytes are not text; it says which line and byte.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _not_text(
            data, error.start, "is not UTF-8 text", f"the byte 0x{data[error.start]:02x}"
        ) from None
    if b"\0" in data:
        raise _not_text(data, data.index(b"\0"), "is binary, not text", "a NUL byte")
    lines = [line for line in (part.removesuffix("\r") for part in text.split("\n")) if line.strip()]
    if not lines:
        raise UserError("Standard input holds no text; wanted one text a line.")
    return lines


def _not_text(data: bytes, position: int, what: str, byte: str) -> UserError:
    line = data.count(b"\n", 0, position) + 1
    column = position - (data.rfind(b"\n", 0, position) + 1) + 1
    return UserError(
        f"Standard input {what}: line {line} has {byte} at its byte {column}; wanted UTF-8, one text a line."
    )
