"""An LM on disk: its interventions with their strengths, and the name of its model."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from dipole.files import write_json_atomic
from dipole.files.reader import COPY_AGAIN, inside, read_json
from dipole.files.schema import Flag, Items, Maybe, Name, Number, Optional, Table, checked
from dipole.interventions import load_intervention
from dipole.protocols import LM, Intervention

LM_FILE = "lm.json"
_FIELDS = Table(
    {
        "model": Name(4096, 1),
        "revision": Maybe(Name(4096)),
        "fingerprint": Name(64),
        "plain": Optional(Flag(), False),
        "interventions": Items(Table({"folder": Name(255, 1), "strength": Number(-1e30, 1e30)}), 0, 10_000),
    }
)


class Saved(NamedTuple):
    """What `write_saved` wrote.

    Attributes:
        model: Name of the model.
        revision: Its commit on the hub, where known.
        fingerprint: Of its weights.
        plain: Whether prompts are text to continue although there is a chat template.
        parts: Interventions with their strengths, in their order.
    """

    model: str
    revision: str | None
    fingerprint: str
    plain: bool
    parts: tuple[tuple[Intervention, float], ...]


def write_saved(lm: LM, folder: Path) -> None:
    """Write every intervention of an LM with its strength, and the name of the model, into an empty folder.

    `dipole.load` of that folder gives the same LM again. The model's own weights are not copied.

    Raises:
        UserError: The folder can't be written.
    """
    parts = []
    for index, applied in enumerate(lm.applied):
        name = f"{index}-{applied.intervention.kind}"
        applied.intervention.save(folder / name)
        parts.append({"folder": name, "strength": applied.strength})
    record = {
        "model": lm.resident.name,
        "revision": lm.resident.revision,
        "fingerprint": lm.resident.fingerprint,
        **({"plain": True} if lm.resident.has_template and not lm.resident.chat else {}),
        "interventions": parts,
    }
    write_json_atomic(folder / LM_FILE, record)


def read_saved(folder: Path) -> Saved:
    """What `write_saved` wrote into a folder.

    Raises:
        UserError: It can't be read.
    """
    file = inside(folder, LM_FILE)
    record = checked(_FIELDS, read_json(file), file, COPY_AGAIN)
    parts = tuple(
        (load_intervention(inside(folder, part["folder"])), part["strength"])
        for part in record["interventions"]
    )
    return Saved(record["model"], record["revision"], record["fingerprint"], record["plain"], parts)
