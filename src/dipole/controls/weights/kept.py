"""What a run keeps of the texts that it learns from, so that a resumed one reads none again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dipole.controls.weights.lessons import Lesson, Unit
from dipole.controls.weights.rollout import Text
from dipole.files import LESSONS, write_bytes_atomic
from dipole.files.reader import inside
from dipole.protocols import Run
from dipole.tensors import Wanted, read_stored
from dipole.types import UserError

_REMEDY = "start again in another folder, or with overwrite=True"
_WANTED = {
    "ids": Wanted("whole", ("tokens",)),
    "lengths": Wanted("whole", ("units", "lessons", 2)),
    "wanted": Wanted("whole", ("units", "lessons")),
    "reference": Wanted("float", ("units", "lessons")),
}


class Kept(NamedTuple):
    """The texts of a run.

    Attributes:
        units: What is learned from; ids alone.
        reference: `(units, lessons)` what the base makes of each, nats.
    """

    units: list[Unit]
    reference: Tensor


def keep(run: Run, units: Sequence[Unit], reference: Tensor, accelerator: Any) -> None:
    """Write them into the run's folder, where it has one."""
    from safetensors.torch import save

    if run.folder is None or not accelerator.is_main_process:
        return
    texts = [[lesson.ids for lesson in unit] for unit in units]
    tensors = {
        "ids": torch.tensor([i for row in texts for t in row for i in (*t.prompt_ids, *t.token_ids)]),
        "lengths": torch.tensor([[[len(t.prompt_ids), len(t.token_ids)] for t in row] for row in texts]),
        "wanted": torch.tensor([[int(lesson.wanted) for lesson in unit] for unit in units]),
        "reference": reference.contiguous(),
    }
    facts = {"dipole": json.dumps({"identity": dict(run.identity)})}
    write_bytes_atomic(run.folder / LESSONS, save(tensors, facts))


def kept(run: Run, columns: int) -> Kept | None:
    """What the folder of a run that is continued holds of them; None where it is to be made.

    Args:
        run: The run.
        columns: How many token ids the model reads.

    Raises:
        UserError: It is damaged.
    """
    path = None if run.folder is None or not run.resume else run.folder / LESSONS
    if path is None or not path.is_file():
        return None
    stored = read_stored(inside(path.parent, path.name), _WANTED, _REMEDY)
    if stored.metadata.get("dipole") != json.dumps({"identity": dict(run.identity)}):
        return None  # of another run, which the checkpoint will say
    tensors = stored.tensors
    lengths, wanted = tensors["lengths"], tensors["wanted"]
    if int(lengths.sum()) != len(tensors["ids"]) or not lengths.numel() or int(lengths.min()) < 1:
        raise UserError(f"{path} is damaged: the lengths of its texts do not add up; {_REMEDY}.")
    if int(tensors["ids"].max()) >= columns:
        raise UserError(f"{path} is damaged: it has token ids that the model does not know; {_REMEDY}.")
    cut = iter(torch.split(tensors["ids"], lengths.flatten().tolist()))
    units = [
        tuple(Lesson(Text(next(cut).tolist(), next(cut).tolist()), bool(flag)) for flag in flags)
        for flags in wanted.tolist()
    ]
    return Kept(units, tensors["reference"])
