"""Where a record comes from: what makes it again, and when it was made."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from dipole.types import fields_of


class Loaded(Protocol):
    """A model as it was loaded.

    Attributes:
        name: What the user asked for.
        revision: Commit on the hub.
        fingerprint: Of its weights.
        device: Where it is.
        has_template: Whether its tokenizer comes with a chat template.
        chat: Whether it reads prompts as turns of a chat.
    """

    @property
    def name(self) -> str: ...  # noqa: D102 - see above
    @property
    def revision(self) -> str | None: ...  # noqa: D102
    @property
    def fingerprint(self) -> str: ...  # noqa: D102
    @property
    def device(self) -> Any: ...  # noqa: D102
    @property
    def has_template(self) -> bool: ...  # noqa: D102
    @property
    def chat(self) -> bool: ...  # noqa: D102


@dataclass(frozen=True)
class Origin:
    """What the manifest of a record will say.

    Attributes:
        entries: What makes it again, as plain data.
        started: When the work began, with a time zone.
        finished: When it ended.
        device: Device that the model was on; None where there was no model.
    """

    entries: Mapping[str, Any]
    started: datetime
    finished: datetime
    device: str | None = None


def now() -> datetime:
    """This moment, with a time zone."""
    return datetime.now(UTC)


def origin(verb: str, started: datetime, model: Loaded | None = None, **asked: Any) -> Origin:
    """Of what is no fit of a control.

    Args:
        verb: What was done.
        started: When it began.
        model: What it read with, if anything.
        asked: With which arguments.
    """
    names = {} if model is None else {**named(model), "model": model.name}
    names.pop("name", None)
    return Origin({"verb": verb, **names, **asked}, started, now(), _device(model))


def fit_origin(
    control: Any,
    concept: Mapping[str, Any],
    started: datetime,
    model: Loaded,
    *,
    seed: int,
    prompts: Sequence[str] = (),
    held_out: Sequence[str] = (),
    judge: Loaded | None = None,
    **more: Any,
) -> Origin:
    """Of what was fitted to a concept, or measured for one.

    Args:
        control: How; a dataclass with a `name`, every field of which is recorded.
        concept: The concept as plain data.
        started: When it began.
        model: The model that was steered.
        seed: Seed of the run.
        prompts: Prompts that were fitted on.
        held_out: Prompts that were measured on.
        judge: A scorer in place of the model itself.
        more: Further entries.
    """
    entries = {
        "concept": dict(concept),
        "prompts": list(prompts),
        "held_out": list(held_out),
        "control": {
            "name": str(getattr(control, "name", type(control).__name__.lower())),
            "class": f"{type(control).__module__}:{type(control).__qualname__}",
            "fields": {f.name: getattr(control, f.name) for f in fields_of(control)},
            "changed": [f.name for f in fields_of(control) if is_changed(control, f)],
        },
        "seed": seed,
        "model": named(model),
        "judge": None if judge is None else named(judge),
    }
    return Origin({**entries, **more}, started, now(), _device(model))


def named(model: Loaded) -> dict[str, Any]:
    """Name, revision and fingerprint of a model, and of one with a chat template whether it reads chats."""
    found = {"name": model.name, "revision": model.revision, "fingerprint": model.fingerprint}
    return {**found, "chat": model.chat} if model.has_template else found


def _device(model: Loaded | None) -> str | None:
    return None if model is None else str(model.device)


def is_changed(control: Any, field: dataclasses.Field[Any]) -> bool:
    """Whether the field differs from its default."""
    factory = field.default_factory
    made = field.default if factory is dataclasses.MISSING else factory()
    return made is dataclasses.MISSING or made != getattr(control, field.name)
