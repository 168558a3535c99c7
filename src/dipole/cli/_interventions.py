"""The LM with the interventions that the flags name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dipole.cli._control import control_hint
from dipole.cli._groups import Source
from dipole.files import MANIFEST
from dipole.files.paths import given_path
from dipole.files.reader import inside, read_json
from dipole.files.schema import Name, Table
from dipole.protocols import Intervention
from dipole.types import UserError

if TYPE_CHECKING:
    from dipole.interventions.activations import SteeringVector
    from dipole.lm import LM

_UNKNOWN = "an unknown model"


def engaged_lm(specs: Sequence[str], source: Source) -> LM:
    """The model of the flags, or the one that the interventions were made for, with `FOLDER[:STRENGTH]`s."""
    from dipole.interventions import parse_intervention

    engaged = [(loaded(folder), folder, strength) for folder, strength in map(parse_intervention, specs)]
    lm = source.load(base_of([(found, folder) for found, folder, _ in engaged]))
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


def _made_with(folder: str) -> str | None:
    try:
        facts = read_json(inside(given_path(folder), MANIFEST))
        made = Table({"model": Table({"name": Name(4096, 1)}, more=True)}, more=True)
        return str(made.read(facts, "")["model"]["name"])
    except ValueError:  # there is none, or it is not one of ours
        return None
