"""Chats rendered by a tokenizer's own template, with a look at whether everything that is said is in them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from itertools import count
from typing import Any, NamedTuple

from jinja2 import TemplateError

from dipole.models.encoding import Encoder, Piece, chat_templates
from dipole.resident import Turns as Told
from dipole.types import UserError

Shots = Sequence[tuple[str, str]]
Turns = list[dict[str, Any]]
Render = Callable[[Turns], str]

# A template is a program of whoever made the model; these are what one that goes wrong can raise.
_TEMPLATE_ERRORS = (TemplateError, TypeError, ValueError, LookupError, AttributeError, ArithmeticError)
_NO_THINKING = {"enable_thinking": False, "thinking": False}  # the switch, by either name that templates have
# A prompt must be the same tomorrow: the day that some templates write (Llama 3 and others) is always the one
# that Llama's falls back on.
_DAY = datetime(2024, 7, 26)
_CODES = "".join(f".replace('%{code}', '{_DAY.strftime('%' + code)}')" for code in "aAbBdjmyYHMS")
_SAME_DAY = f"{{% macro strftime_now(form) %}}{{{{ form{_CODES} }}}}{{% endmacro %}}"
_PRIVATE = 0xF0000  # the first of the characters to which Unicode gives no meaning


class Chat(NamedTuple):
    """A chat as a model reads it.

    Attributes:
        ids: Token ids.
        carried: Where the directive stands, if not in the system's turn; empty if there, or without one.
    """

    ids: list[int]
    carried: str


def prompted(encoder: Encoder, turns: Sequence[Told], prompt: str) -> Chat:
    """A prompt, with what stands in front of it, as a chat.

    Args:
        encoder: Tokenizer and template.
        turns: Directives with their examples.
        prompt: What the user says last.

    Raises:
        UserError: The template can't carry them.
    """
    directive = "\n".join(told for told, _ in turns if told)
    shots = [(p.strip(), c.strip()) for _, examples in turns for p, c in examples]
    return chat(encoder, directive, shots, prompt)


def chat(encoder: Encoder, directive: str, shots: Shots, prompt: str) -> Chat:
    """A directive, examples and a prompt as the turns of a chat, each seen in what the template writes.

    The directive is the system's turn. A template that knows none, refuses it or drops it gets the directive
    in front of the first turn of the user; one that shows not all the turns gets everything in one. So a
    template can't leave anything out in silence.

    Args:
        encoder: Tokenizer and template.
        directive: What the model is told; may be empty.
        shots: Pairs of what the user says and what the assistant answers.
        prompt: What the user says last.

    Raises:
        UserError: The template shows no arrangement of them whole, or there is no telling which of several
            templates is meant.
    """
    template = _template(encoder)
    why = "what is said is not in what it writes"

    def render(turns: Turns) -> str:
        return _rendered(encoder, template, turns, add_generation_prompt=True)

    for carried, turns in _arrangements(directive, shots, prompt):
        try:
            if _shows(render, turns):
                return Chat(_ids(encoder, render, turns), carried)
        except _TEMPLATE_ERRORS as error:
            why = f"it says: {' '.join(str(error).split())[:200]}"
    raise UserError(
        f"The chat template of {encoder.name} can't carry the prompt with what the control puts around it "
        f"({why}); do without the template (plain=True), or mend it."
    )


def turn_end(encoder: Encoder) -> int | None:
    """The control token that the template writes right behind what the assistant says; None where it is none.

    A model may end its turns with another token than the one that its tokenizer and config name.
    """
    (mark,) = _unused("", 1)
    turns = [_turn("user", "a"), _turn("assistant", mark)]
    try:
        written = _rendered(encoder, _template(encoder), turns, add_generation_prompt=False)
    except (*_TEMPLATE_ERRORS, UserError):
        return None
    ids = encoder.chat([Piece(written.rpartition(mark)[2].lstrip(), False)])
    return ids[0] if ids and ids[0] in encoder.control else None


def _rendered(encoder: Encoder, template: str, turns: Turns, add_generation_prompt: bool) -> str:
    rendered: str = encoder.tokenizer.apply_chat_template(
        turns,
        chat_template=_SAME_DAY + template if "strftime_now" in template else template,
        tokenize=False,
        add_generation_prompt=add_generation_prompt,
        **_NO_THINKING,
    )
    return rendered


def _template(encoder: Encoder) -> str:
    """The default template, or the only one."""
    named = chat_templates(encoder.tokenizer)
    if "default" in named or len(named) == 1:
        return named.get("default") or next(iter(named.values()))
    raise UserError(
        f"The tokenizer of {encoder.name} has several chat templates ({', '.join(sorted(named))}) and none "
        "that is called default; set tokenizer.chat_template to one of them, or do without "
        "(plain=True)."
    )


def _arrangements(directive: str, shots: Shots, prompt: str) -> Iterator[tuple[str, Turns]]:
    """Ways of saying the same, the best first, each as text and as the list of parts that some want."""
    said = [turn for p, c in shots for turn in (_turn("user", p), _turn("assistant", c))]
    said.append(_turn("user", prompt))
    ways = []
    if directive:
        ways.append(("", [_turn("system", directive), *said]))
        first = _turn("user", f"{directive}\n{said[0]['content']}")
        ways.append(("in front of the first turn of the user", [first, *said[1:]]))
    else:
        ways.append(("", said))
    if shots:
        parts = [directive, *(f"{p}\n{c}" for p, c in shots), prompt]
        whole = "\n".join(part for part in parts if part)
        ways.append(("with the examples in the one turn of the user", [_turn("user", whole)]))
    for carried, turns in ways:
        yield carried, turns
        yield carried, [{**t, "content": [{"type": "text", "text": t["content"]}]} for t in turns]


def _turn(role: str, content: str) -> dict[str, Any]:
    return {"role": role, "content": content}


def _shows(render: Render, turns: Turns) -> bool:
    """Whether what each turn says is whole in what a template writes, blanks aside."""
    said = _contents(turns)
    start, end = _unused("".join(said), 2)
    written = render(_changed(turns, lambda text: f"{start}{text}{end}"))
    found = re.findall(f"{start}([^{start}{end}]*){end}", written)
    return not Counter(map(_plain, said)) - Counter(map(_plain, found))


def _ids(encoder: Encoder, render: Render, turns: Turns) -> list[int]:
    """Ids of a chat in which the template's control tokens count, and those that the turns spell do not."""
    spelled = encoder.spelled
    names = sorted({match[0] for text in _contents(turns) for match in spelled.finditer(text)})
    signs = dict(zip(names, _unused("".join(_contents(turns)), len(names)), strict=True))
    written = render(_changed(turns, lambda text: spelled.sub(lambda match: signs[match[0]], text)))
    if not names:
        return encoder.chat([Piece(written, False)])
    meant = {sign: name for name, sign in signs.items()}
    parts = re.split(f"([{''.join(meant)}])", written)
    return encoder.chat([Piece(meant.get(part, part), part in meant) for part in parts if part])


def _changed(turns: Turns, change: Callable[[str], str]) -> Turns:
    def changed(content: Any) -> Any:
        if isinstance(content, str):
            return change(content)
        return [{**part, "text": change(part["text"])} for part in content]

    return [{**turn, "content": changed(turn["content"])} for turn in turns]


def _contents(turns: Turns) -> list[str]:
    found: list[str] = []
    _changed(turns, lambda text: found.append(text) or text)  # type: ignore[func-returns-value]
    return found


def _unused(text: str, wanted: int) -> list[str]:
    """Characters without a meaning that a text does not have."""
    free = (chr(code) for code in count(_PRIVATE) if chr(code) not in text)
    return [next(free) for _ in range(wanted)]


def _plain(text: str) -> str:
    return " ".join(text.split())
