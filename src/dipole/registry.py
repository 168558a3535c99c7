"""What can be asked for by name: controls, recognizers, and the options of each.

A new one of ours is one line in a table here; one of another package is an entry point of its own (see
`plugins`). Nothing is imported before it is asked for.
"""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, get_type_hints

from dipole.plugins import entry_points_of
from dipole.types import UserError, fields_of


class Table(Mapping[str, str]):
    """Names to `module:object`: ours, then those that other packages offer in the group `dipole.NOUNs`.

    A name of ours is never another's, and is found without a look at what is installed.
    """

    def __init__(self, noun: str, own: Mapping[str, str]) -> None:
        """Say what the entries are, and which are ours."""
        self.noun, self.own = noun, own

    @property
    def others(self) -> Mapping[str, str]:
        """The entries of other packages."""
        return entry_points_of(f"dipole.{self.noun}s")

    def __getitem__(self, name: str) -> str:
        """Where something of that name is."""
        return self.own[name] if name in self.own else self.others[name]

    def __iter__(self) -> Iterator[str]:
        """Ours first."""
        return iter(dict.fromkeys((*self.own, *self.others)))

    def __len__(self) -> int:
        """How many names there are."""
        return len({*self.own, *self.others})


CONTROLS = Table(
    "control",
    {
        "prompt": "dipole.controls.prompt:Prompt",
        "ppo": "dipole.controls.weights.ppo:PPO",
        "grpo": "dipole.controls.weights.grpo:GRPO",
        "rloo": "dipole.controls.weights.grpo:RLOO",
        "sft": "dipole.controls.weights.sft:SFT",
        "best_of_distil": "dipole.controls.weights.sft:BestOfDistil",
        "dpo": "dipole.controls.weights.dpo:DPO",
        "dpf": "dipole.controls.weights.dpf:DPF",
        "kto": "dipole.controls.weights.kto:KTO",
        "conditional": "dipole.controls.weights.conditional:Conditional",
        "best_of": "dipole.controls.best_of:BestOf",
        "vector": "dipole.controls.vector:Vector",
        "ablate": "dipole.controls.ablate:Ablate",
        "boost": "dipole.controls.boost:Boost",
        "semantic": "dipole.controls.semantic:Semantic",
        "contrast": "dipole.controls.contrast:Contrast",
        "cfg": "dipole.controls.cfg:CFG",
        "dexperts": "dipole.controls.dexperts:DExperts",
        "pplm": "dipole.controls.pplm:PPLM",
        "fudge": "dipole.controls.fudge:Fudge",
        "ilql": "dipole.controls.ilql:ILQL",
        "pool": "dipole.controls.tokens.pool:Pool",
        "titles": "dipole.controls.tokens.titles:Titles",
        "quotes": "dipole.controls.tokens.quotes:Quotes",
        "patchwork": "dipole.controls.tokens.patchwork:Patchwork",
        "grammar": "dipole.controls.tokens.grammar:Grammar",
    },
)

TRAINED = "grpo"
"""The control that `inoculate` trains with unless it is told another."""

RECOGNIZERS = Table(
    "recognizer",
    {
        "velma": "dipole.recognizers.velma:Velma",
        "embedding": "dipole.recognizers.embedding:Embedding",
        "mentions": "dipole.recognizers.mentions:Mentions",
        "nli": "dipole.recognizers.nli:NLI",
        "probe": "dipole.recognizers.probe:Probe",
        "stance": "dipole.recognizers.stance:Stance",
    },
)

METERS = Table(
    "meter",
    {
        "sides": "dipole.evaluation.meters.sides:meters",
        "truth": "dipole.evaluation.meters.truth:meters",
        "recognizers": "dipole.evaluation.meters.recognizers:meters",
        "likelihood": "dipole.evaluation.meters.likelihood:meters",
        "variety": "dipole.evaluation.meters.variety:meters",
        "length": "dipole.evaluation.meters.length:meters",
    },
)


CONCEPTS = Table(
    "concept",
    {
        "dipole": "dipole.concepts.dipole:Dipole",
        "arsenal": "dipole.concepts.arsenal:Arsenal",
        "topic": "dipole.concepts.topic:Topic",
        "avoid": "dipole.concepts.avoid:Avoid",
    },
)


def resolve(table: Mapping[str, str], name: str) -> type[Any]:
    """Import what a table has under a name.

    Args:
        table: Name to `module:Class`.
        name: The name; letter case and `-` for `_` are forgiven.

    Raises:
        UserError: There is no such name, or what another package offers under it can't be imported.
    """
    target = table.get(name) or table.get(plain(name))
    noun = table.noun if isinstance(table, Table) else "entry"
    if target is None:
        raise unknown(noun, name, table)
    module, _, attribute = target.partition(":")
    try:
        found: type[Any] = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        if target.startswith("dipole."):
            raise
        raise UserError(
            f"The {noun} {name!r} of another package can't be imported from {target} ({error}); update that "
            "package, or remove it."
        ) from error
    return found


def plain(name: str) -> str:
    """A name as the tables have it."""
    return name.strip().lower().replace("-", "_")


def make_recognizer(name: str, judge: Any) -> Any:
    """The recognizer of that name.

    Args:
        name: As in `RECOGNIZERS`.
        judge: The LM it reads with, where it reads with one at all.

    Raises:
        UserError: There is no recognizer of that name.
    """
    made = resolve(RECOGNIZERS, name)
    reads = "judge" in {field.name for field in dataclasses.fields(made)}
    return made(judge=judge) if reads else made()


def unknown(noun: str, name: str, available: Iterable[str]) -> UserError:
    """The error for a name that isn't there: what was asked for, the nearest one, and all there are.

    Args:
        noun: What kind of thing was asked for, as in `There is no NOUN called …`.
        name: What was asked for.
        available: The names that exist.
    """
    names = list(available)
    name = name if len(name) <= 200 else f"{name[:200]}…"
    near = difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.5)
    guess = f" Did you mean {near[0]!r}?" if near else ""
    return UserError(f"There is no {noun} called {name!r}.{guess} Available: {', '.join(names) or 'none'}.")


@dataclass(frozen=True)
class Option:
    """One field of a control or recognizer, as a command-line flag needs it.

    Attributes:
        name: Name of the field.
        type: Its type; `Any` where the annotation names something that is only imported for type checkers.
        default: Its default; `dataclasses.MISSING` where there is none.
        help: Its line in the `Attributes:` section of the class docstring, or nothing.
    """

    name: str
    type: Any
    default: Any
    help: str

    @property
    def required(self) -> bool:
        """Whether there is no default."""
        return self.default is dataclasses.MISSING


def options(cls: type[Any]) -> tuple[Option, ...]:
    """The fields of a dataclass that its constructor takes, in order.

    Args:
        cls: A dataclass with a Google-style `Attributes:` section.

    Raises:
        TypeError: `cls` is not a dataclass.
    """
    if not dataclasses.is_dataclass(cls):
        raise TypeError(f"options() wants a dataclass, and got {cls!r}")
    helps = {name: text for base in reversed(cls.__mro__) for name, text in attribute_docs(base).items()}
    return tuple(
        Option(f.name, _field_type(cls, f), _field_default(f), helps.get(f.name, ""))
        for f in fields_of(cls)
        if f.init
    )


def attribute_docs(cls: type[Any]) -> dict[str, str]:
    """Name to text of the `Attributes:` section of a class's own docstring; continued lines are joined."""
    lines = iter(inspect.cleandoc(cls.__doc__ or "").splitlines())
    for line in lines:
        if line.rstrip() == "Attributes:":
            break
    docs: dict[str, str] = {}
    name, indent = "", 0
    for line in lines:
        if not line.strip():
            continue
        depth = len(line) - len(line.lstrip())
        if depth == 0:
            break
        start = re.match(r"\s+(\w+)(?: \([^)]*\))?:\s*(.*)", line)
        if start and (not indent or depth <= indent):
            name, indent = start.group(1), depth
            docs[name] = start.group(2).strip()
        elif name:
            docs[name] = f"{docs[name]} {line.strip()}".strip()
    return docs


def _field_type(cls: type[Any], field: dataclasses.Field[Any]) -> Any:
    try:
        return get_type_hints(cls)[field.name]
    except NameError:
        pass
    if not isinstance(field.type, str):
        return field.type
    # One name that only type checkers import must not hide the types of the other fields.
    holder = type(cls.__name__, (), {"__annotations__": {field.name: field.type}})
    try:
        return get_type_hints(holder, globalns=vars(sys.modules[cls.__module__]))[field.name]
    except NameError:
        return Any


def _field_default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default
