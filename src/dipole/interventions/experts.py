"""DExperts and contrastive decoding: the difference between two other models, added to the base."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

import torch
from torch import Tensor

from dipole.decoding.distribution import nucleus
from dipole.decoding.guides import Session
from dipole.decoding.logit_maths import contrastive_decoding, experts, plausible
from dipole.decoding.stepping import steps
from dipole.files.reader import inside
from dipole.files.schema import Choice, Field, Name, Number, Optional, Table, Text, shown
from dipole.interventions.folder import BASE, read_fields, read_meta, write_folder
from dipole.interventions.logits import WEIGHT, LogitChange, Room
from dipole.types import UserError

if TYPE_CHECKING:
    from dipole.protocols import LM

SourceKind = Literal["base", "told", "model", "intervention"]


@dataclass(frozen=True)
class Source:
    """One of the two sides.

    Attributes:
        kind: `base` the row itself, `told` the same model with a text in front of the prompt, `model` another
            model with the same vocabulary, `intervention` the same model with an intervention of its own.
        value: The text, the folder or hub id of the model, or the folder of the intervention.
        fingerprint: Of the other model, when it was fitted.
    """

    kind: SourceKind
    value: str = ""
    fingerprint: str = ""


@dataclass(frozen=True)
class Experts(LogitChange):
    """Adds strength * weight * (z_expert - z_anti) to the logits, on the tokens that the base finds likely.

    Where the expert is the base itself and `cut` is on, it is contrastive decoding: the anti-expert is the
    amateur, and strength * weight its coefficient.

    Attributes:
        expert: Who is followed.
        anti: Who is avoided.
        weight: Size at strength 1.
        top_p: Only the smallest set of tokens with this probability under the base may be said; 1 is all.
        cut: Only tokens with at least this share of the base's likeliest may be said; 0 is all.
        temperature: Divides the amateur's logits in contrastive decoding.
    """

    expert: Source
    anti: Source
    weight: float
    top_p: float
    cut: float
    temperature: float

    kind: ClassVar[str] = "experts"

    def guide(self, session: Session, strength: float) -> ExpertsGuide:
        """What changes the logits of one batch.

        Raises:
            UserError: A model can't be loaded or has another vocabulary, or a prompt does not fit.
        """
        return ExpertsGuide(session, self, strength * self.weight)

    def save(self, folder: Path) -> None:
        """Write `dipole.json`, a card, and a copy of each intervention that stands for a side."""
        from dipole.interventions import load_intervention

        sides = {"expert": asdict(self.expert), "anti": asdict(self.anti)}
        for name, side in sides.items():
            if side["kind"] == "intervention":
                load_intervention(side["value"]).save(folder / name)
                side["value"] = ""
        numbers = {name: getattr(self, name) for name in _NUMBERS}
        write_folder(folder, self.meta(**sides, **numbers), card=self.card)

    @classmethod
    def load(cls, folder: Path) -> Experts:
        """Read what `save` wrote.

        Raises:
            UserError: It can't be read.
        """
        meta = read_fields(folder, _FIELDS)
        expert, anti = (_source(meta[side], folder, side) for side in ("expert", "anti"))
        numbers = {name: meta[name] for name in (*_NUMBERS, "base_fingerprint", "facts")}
        return cls(expert, anti, base_name=meta["base"], **numbers)


_SIDE = Table(
    {
        "kind": Choice(get_args(SourceKind)),
        "value": Optional(Text(), ""),
        "fingerprint": Optional(Name(64), ""),
    }
)
_NUMBERS: dict[str, Field] = {
    "weight": WEIGHT,
    "top_p": Number(0, 1, above=True),
    "cut": Number(0, 1),
    "temperature": Number(0, above=True),
}
_FIELDS: dict[str, Field] = {**BASE, **_NUMBERS, "expert": _SIDE, "anti": _SIDE}


def _source(data: Mapping[str, Any], folder: Path, side: str) -> Source:
    from dipole.interventions import load_intervention

    if data["kind"] != "intervention":
        return Source(**data)
    place = inside(folder, side)
    kind = read_meta(place).get("kind")
    if kind not in ("adapter", "vector"):  # which also keeps it from naming itself
        raise UserError(f"{place} holds {shown(kind)}, and an adapter or a vector is wanted; fit it again.")
    load_intervention(place)  # found out now, not while text is written
    return Source("intervention", str(place))


class ExpertsGuide:
    """Reads both sides beside the batch: as streams of the same forward, or with models of their own."""

    def __init__(self, session: Session, made: Experts, weight: float) -> None:
        """Lay out streams and readers."""
        self._made, self._weight = made, weight
        sides = (made.expert, made.anti)
        rows = [list(row.ids) for row in session.rows]
        self._readers = {i: Reader(lm_of(s, session), rows) for i, s in enumerate(sides) if not _is_stream(s)}
        # The row itself is always a stream: a side that is absent stands for it unguided.
        self.streams: Sequence[Sequence[int]] = [
            session.encode(row.text, side.value) if side.kind == "told" else row.ids
            for row in session.rows
            for side in sides
        ]
        self._room = Room(session.resident, self.streams)

    def __call__(self, logits: Tensor, streams: Tensor) -> Tensor:
        """Changed logits."""
        pair = list(streams.view(-1, 2, streams.shape[-1]).unbind(1))
        for index, reader in self._readers.items():
            pair[index] = reader.read(pair[index])
        made = self._made
        if made.expert.kind == "base" and made.cut > 0:
            return contrastive_decoding(logits, pair[1], self._weight, made.cut, made.temperature)
        allowed = nucleus(logits, made.top_p) & plausible(logits, made.cut)
        return experts(logits, pair[0], pair[1], self._weight, allowed)

    def advance(self, tokens: Tensor) -> None:
        """Take one more token."""
        self._room.advance()
        for reader in self._readers.values():
            reader.advance(tokens)

    def keep(self, index: Tensor) -> None:
        """Go on with these rows only."""
        for reader in self._readers.values():
            reader.keep(index)


def _is_stream(source: Source) -> bool:
    return source.kind in ("base", "told")


class Reader:
    """Another LM that reads the same tokens, one step behind until its logits are wanted."""

    def __init__(self, lm: LM, rows: Sequence[Sequence[int]]) -> None:
        """Prepare to read the rows."""
        self._lm, self._room = lm, Room(lm.resident, rows)
        self._stepper = steps(lm.resident, lm.resident.model, rows)
        self._waiting: Tensor | None = None
        self._started = False

    def read(self, like: Tensor) -> Tensor:
        """Its logits `(rows, vocab)`; tokens that it lacks have what `like` says, so they do not move.

        Models with one tokenizer may have output embeddings padded to different sizes.
        """
        with self._lm.engaged():
            if not self._started:
                logits = self._stepper.start()
                self._started = True
            else:
                assert self._waiting is not None
                logits = self._stepper.advance(self._waiting)
        logits = logits.float().to(like.device)[:, : like.shape[-1]]
        return torch.cat([logits, like[:, logits.shape[-1] :]], dim=-1)

    def advance(self, tokens: Tensor) -> None:
        """Take one more token a row."""
        self._room.advance()
        self._waiting = tokens

    def keep(self, index: Tensor) -> None:
        """Go on with these rows only."""
        self._stepper.keep(index)
        if self._waiting is not None:
            self._waiting = self._waiting[index.to(self._waiting.device)]


def lm_of(source: Source, session: Session) -> LM:
    """The LM that stands for a side.

    Raises:
        UserError: It can't be loaded, its vocabulary is another, or it is steered outside the model.
    """
    from dipole import lm
    from dipole.interventions import load_intervention

    if source.kind == "intervention":
        return load_intervention(source.value).apply(lm.LM(session.resident))
    found = _loaded(source.value, str(session.resident.device))
    if source.fingerprint and found.resident.fingerprint != source.fingerprint:
        raise UserError(
            f"The model {source.value} is not the one that the control was fitted with (fingerprint "
            f"{found.resident.fingerprint}, then {source.fingerprint}); fit the control again."
        )
    if found.resident.tokenizer.get_vocab() != session.resident.tokenizer.get_vocab():
        raise UserError(
            f"{source.value} has another vocabulary than {session.resident.name}, so their logits can't be "
            "compared; give a model with the same tokenizer."
        )
    return found


@functools.lru_cache(maxsize=2)
def _loaded(name: str, device: str) -> LM:
    """Another model in memory; the two that were used last are kept."""
    from dipole.models import load

    return load(name, device=device)
