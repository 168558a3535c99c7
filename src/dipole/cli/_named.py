"""The controls, interventions and recognizers that a command line names."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dipole.cli._concept import poles_from
from dipole.cli._console import flag
from dipole.cli._groups import Poles, Source
from dipole.files import MANIFEST
from dipole.files.paths import given_path, tell_shadowed
from dipole.files.reader import inside, read_json
from dipole.files.schema import Flag, Maybe, Name, Optional, Table
from dipole.registry import CONTROLS, RECOGNIZERS, options, plain, resolve, unknown
from dipole.types import UserError

if TYPE_CHECKING:
    from dipole.concepts import Dipole
    from dipole.interventions.activations import SteeringVector
    from dipole.protocols import LM, Intervention, Recognizer
    from dipole.recognizers.topic import TopicScore

_UNKNOWN = "an unknown model"


def made_control(name: str, fields: Mapping[str, Any] | None = None) -> Any:
    """The control of that name.

    Args:
        name: As in `CONTROLS`.
        fields: The fields that were given; None where none can be.

    Raises:
        UserError: There is no such control, or a field is missing or means nothing.
    """
    made = resolve(CONTROLS, name)
    for option in options(made):
        if option.required and option.name not in (fields or {}):
            if fields is None:
                raise UserError(
                    f"The control {name} needs {flag(option.name)}, so it can't be fitted here: fit it with "
                    f"`dipole fit {name} {flag(option.name)} …`, and give its folder."
                )
            raise UserError(
                f"The control {name} needs {flag(option.name)}: {option.help or 'it has no default.'} "
                f"See `dipole fit {name} --help`."
            )
    return made(**(fields or {}))


def control_hint(folder: str) -> str:
    """A sentence for a folder that does not exist and has the name of a control; empty for any other."""
    if plain(folder) not in CONTROLS:
        return ""
    return f" {folder!r} is a control: fit it first, with `dipole fit {folder} --dipole … --out {folder}`."


def unknown_control(text: str) -> UserError:
    """The error for what is neither a control nor a folder."""
    error = unknown("control", text, CONTROLS)
    return UserError(f"{error} Nor is there a folder {text}, which a fitted intervention would have.")


def engaged_lm(specs: Sequence[str], source: Source) -> LM:
    """The model of the flags, or the one that the interventions were made for, with `FOLDER[:STRENGTH]`s."""
    from dipole.interventions import parse_intervention

    engaged = [(loaded(folder), folder, strength) for folder, strength in map(parse_intervention, specs)]
    folders = [folder for _, folder, _ in engaged]
    lm = source.load(base_of([(found, folder) for found, folder, _ in engaged]), made_plain(folders))
    for found, _, strength in engaged:
        lm = found.apply(lm, strength)
    return lm


def loaded(folder: str) -> Intervention:
    """The intervention of a folder.

    Raises:
        UserError: There is none; it says so where the name is that of a control.
    """
    from dipole.interventions import load_intervention

    try:
        return load_intervention(folder)
    except UserError as error:
        if given_path(folder).exists():
            raise
        raise UserError(f"{error}{control_hint(folder)}") from None


def loaded_vector(folder: str, use: str) -> SteeringVector:
    """The steering vector of a folder.

    Args:
        folder: Where it lies.
        use: What only a steering vector can.

    Raises:
        UserError: There is none, or another kind of intervention.
    """
    from dipole.interventions.activations import SteeringVector

    found = loaded(folder)
    if not isinstance(found, SteeringVector):
        raise UserError(
            f"{folder} holds a {found.kind}, which works on the {found.surface} surface; only a steering "
            f"vector can {use}: fit one with `dipole fit vector`."
        )
    return found


def base_of(engaged: Sequence[tuple[Intervention, str]]) -> str | None:
    """Name of the model for interventions and their folders; None where nothing tells.

    It is what the first of them was made for that fits one model alone, or else what the first was made with.
    """
    names = [*(_bound_to(found) for found, _ in engaged), *(_made_with(folder) for _, folder in engaged)]
    return next((name for name in names if name is not None), None)


def _bound_to(found: Intervention) -> str | None:
    name = getattr(found, "base_name", None)  # prompts, masks and the like fit any model
    # A vector from elsewhere names a family of models, not one.
    sure = found.surface == "weights" or getattr(found, "base_fingerprint", None) is not None
    return str(name) if name is not None and sure and name != _UNKNOWN else None


def made_plain(folders: Iterable[str]) -> bool:
    """Whether one of the interventions was made with a model that had a chat template and did not use it."""
    return any(_model_of(folder).get("chat") is False for folder in folders)


def _made_with(folder: str) -> str | None:
    name = _model_of(folder).get("name")
    return None if name is None else str(name)


def _model_of(folder: str) -> Mapping[str, Any]:
    """What the manifest of an intervention says of its model; nothing where there is none."""
    try:
        facts = read_json(inside(given_path(folder), MANIFEST))
        model = Table({"name": Name(4096, 1), "chat": Optional(Maybe(Flag()))}, more=True)
        made: Mapping[str, Any] = Table({"model": model}, more=True).read(facts, "")["model"]
    except ValueError:  # there is none, or it is not one of ours
        return {}
    return made


def recognizer_from(
    name: str, source: Source, prior_correction: bool, poles: Poles
) -> tuple[Recognizer, Dipole | None]:
    """The recognizer of that name and the dipole; or one of a folder, which has a concept of its own."""
    if is_fitted(name):
        return load_fitted(name, source, prior_correction, poles), None
    dipole = poles_from(poles)
    return load_recognizer(name, source, prior_correction), dipole


def load_recognizer(name: str, source: Source, prior_correction: bool) -> Recognizer:
    """Make the recognizer of that name; `source` is the LM that it reads with, where it reads with one."""
    made = resolve(RECOGNIZERS, name)
    fields = {field.name for field in dataclasses.fields(made)}
    options: dict[str, Any] = {}
    if "judge" in fields:
        options["judge"] = source.load()
    elif source.given:
        raise _reads_with_none(name)
    if prior_correction and "prior_correction" not in fields:
        raise _no_correction(name)
    if prior_correction:
        options["prior_correction"] = True
    recognizer: Recognizer = made(**options)
    return recognizer


def is_fitted(name: str) -> bool:
    """Whether the name is that of a folder, with or without an item: what is in the table comes first."""
    from dipole.recognizers import fitted

    if plain(name) in RECOGNIZERS:
        tell_shadowed(name, "a recognizer")
        return False
    return fitted.is_fitted(name)


def load_fitted(name: str, source: Source, prior_correction: bool, poles: Poles) -> Recognizer:
    """The fitted recognizer of a folder, such as `topics:3`.

    Args:
        name: The folder, with its item.
        source: A model that is named replaces the one that the recognizer was fitted with.
        prior_correction: Refused.
        poles: Refused, since the recognizer has a concept of its own.

    Raises:
        UserError: It can't be loaded, or flags are given that it does not know.
    """
    from dipole.recognizers import fitted

    opened = []

    def open_model(known: str) -> LM:
        opened.append(known)
        return source.load(known)

    if poles.given:
        raise UserError(
            f"The recognizer {name} was fitted to a concept of its own; leave out --claim, --against and "
            "--dipole."
        )
    if prior_correction:
        raise _no_correction(name)
    found = fitted.load_fitted(name, open_model)
    if source.given and not opened:
        raise _reads_with_none(name)
    return found


def _reads_with_none(name: str) -> UserError:
    return UserError(
        f"The recognizer {name} does not read with a language model; leave out --model and the like."
    )


def _no_correction(name: str) -> UserError:
    return UserError(f"The recognizer {name} knows no --prior-correction; leave it out, or use velma.")


def folder_of(spec: str) -> str:
    """The folder of a topic, which the command must not replace."""
    from dipole.recognizers.fitted import split

    return str(split(spec)[0])


def topic_of(spec: str) -> TopicScore:
    """The topic that was named.

    Raises:
        UserError: There is none of that name, or it is another kind of recognizer.
    """
    from dipole.recognizers.fitted import load_fitted, split
    from dipole.recognizers.topic import TopicScore

    folder, _ = split(spec)
    if not spec.strip() or not folder.is_dir():
        raise UserError(
            f"There is no folder {str(folder)!r}; give a topic such as topics:3, of a folder that "
            "`dipole topics` made."
        )

    def no_model(_name: str) -> Any:
        raise UserError(
            f"{spec} is a notion already; give a topic such as topics:3, that `dipole topics` made."
        )

    found = load_fitted(spec, no_model)
    if not isinstance(found, TopicScore):
        raise UserError(
            f"{spec} is no topic; give one such as topics:3, of a folder that `dipole topics` made."
        )
    return found
