"""A conversation on the terminal: what the user says, line by line, and what is answered."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import typer

from dipole.cli._console import INTERRUPTED, complain, tell
from dipole.cli._streams import flush_output
from dipole.types import Sample, UserError

if TYPE_CHECKING:
    from dipole.protocols import LM

_HELP = "dipole: /reset forgets what was said, /quit or the end of input ends."
_NO_CHAT = (
    "{name} {why}, so it can't hold a conversation; give a chat model, such as "
    "HuggingFaceTB/SmolLM2-135M-Instruct, or leave out --chat."
)


def require_chat(lm: LM) -> None:
    """Refuse a model that reads no chats.

    Raises:
        UserError: It has no chat template, or plain text was asked for.
    """
    if not lm.resident.chat:
        why = "was asked to read plain text" if lm.resident.has_template else "has no chat template"
        raise UserError(_NO_CHAT.format(name=lm.resident.name, why=why))


def converse(
    lm: LM,
    lines: Iterable[str],
    answer: Callable[[LM, str, int], Sample],
    show: Callable[[LM, Sample], None],
    max_new_tokens: int,
) -> None:
    """Answer each line with all that was said before in mind, until there are no more.

    What no longer fits in the context is forgotten from the beginning, and the user is told.

    Args:
        lm: Who answers, with its interventions.
        lines: What the user says; `/reset` and `/quit` are commands.
        answer: Gives the reply of an LM to a line, which is so many lines from the first.
        show: Prints it.
        max_new_tokens: Token budget of a reply.

    Raises:
        typer.Exit: The user interrupted.
    """
    said: list[tuple[str, str]] = []
    terminal = sys.stdin is not None and sys.stdin.isatty()
    if terminal:
        tell(_HELP)
    try:
        for number, line in enumerate(_asked(lines, terminal)):
            if line.strip() == "/quit":
                return
            if line.strip() == "/reset":
                said.clear()
                continue
            try:
                now = _with_room(lm, said, line, max_new_tokens)
                sample = answer(now, line, number)
            except UserError as error:  # of this line alone
                complain(str(error))
                continue
            said.append((line, sample.text))
            show(now, sample)
            flush_output()
    except KeyboardInterrupt:
        tell("")
        raise typer.Exit(INTERRUPTED) from None


def _asked(lines: Iterable[str], terminal: bool) -> Iterable[str]:
    """The lines; on a terminal with a sign that one is awaited."""
    found = iter(lines)
    while True:
        if terminal:
            print("> ", end="", file=sys.stderr, flush=True)
        try:
            yield next(found)
        except StopIteration:
            return


def _with_room(lm: LM, said: list[tuple[str, str]], line: str, max_new_tokens: int) -> LM:
    """The LM with what was said, of which the beginning is dropped where the context is too short for it.

    Raises:
        UserError: The line alone is too long, or the chat template can't carry it; nothing is dropped then.
    """
    from dipole.interventions.prompt import continued

    for dropped in range(len(said) + 1):
        now = continued(lm, tuple(said[dropped:]))
        try:
            now.require_room(line, max_new_tokens)
        except UserError:
            if dropped == len(said):
                raise
            continue
        if dropped:
            del said[:dropped]
            tell(f"dipole: note: the context is full; forgotten from the beginning: {dropped} of the turns.")
        break
    return now
