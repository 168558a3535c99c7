"""Notion: a linear probe on a model's pooled activations, made by `dipole point`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor

from dipole.engaging.blocks import decoder_blocks
from dipole.files import write_bytes_atomic, write_json_atomic
from dipole.files.reader import inside, read_json
from dipole.files.schema import Choice, Facts, Maybe, Name, Number, Optional, Table, Whole, checked
from dipole.recognizers._statements import texts_of
from dipole.recognizers.fitted import RECOGNIZER
from dipole.recognizers.pooled import read_features
from dipole.tensors import Wanted, aligned, read_tensors
from dipole.types import Score, UserError

if TYPE_CHECKING:
    from dipole.protocols import LM

_TENSORS = "recognizer.safetensors"
_REMEDY = "make it again with `dipole point`"
_FIELDS = Table(
    {
        "kind": Choice(("notion",)),
        "base": Name(4096, 1),
        "base_fingerprint": Name(64),
        "layer": Whole(0, 9999),
        "bias": Number(-1e30, 1e30),
        "concept": Optional(Maybe(Facts(), {}), {}),
    }
)


@dataclass(frozen=True, eq=False)
class NotionScore:
    """Scores a text by what one layer of a model makes of it, whatever words it uses.

    Attributes:
        judge: The LM whose activations are read.
        layer: Block whose output is read, counted from 0.
        weight: `(width,)` float64, for the mean state over all tokens but the first.
        bias: Of the log-odds, nats.
        concept: What it was pointed at with, as plain data.
    """

    judge: LM
    layer: int
    weight: Tensor
    bias: float
    concept: Mapping[str, Any] = field(default_factory=dict)

    name: ClassVar[str] = "notion"
    kind: ClassVar[str] = "notion"

    def __post_init__(self) -> None:
        """Bring the weights to alignment, as they are after they were loaded."""
        object.__setattr__(self, "weight", aligned(self.weight))

    def score(self, texts: Sequence[str], concept: Any = None) -> list[Score]:
        """Log-odds of each text; a text longer than the context is read in part, and its score says so.

        Args:
            texts: Texts to score.
            concept: Not read: the recognizer has a concept of its own.
        """
        del concept
        listed = texts_of(texts, self.name)
        filled = [i for i, text in enumerate(listed) if text.strip()]
        scores = [Score.unscored("the text is empty")] * len(listed)
        if not filled:
            return scores
        features = read_features(self.judge, [listed[i] for i in filled], [self.layer])
        odds = features.at(self.layer).double() @ self.weight + self.bias
        limit = self.judge.resident.context_length
        for i, value in zip(filled, odds.tolist(), strict=True):
            tokens = len(self.judge.resident.encode(listed[i])) if features.cut else 0
            remark = f"read up to token {limit} alone" if limit is not None and tokens > limit else None
            scores[i] = (
                Score(value, remark)
                if math.isfinite(value)
                else Score.unscored("the model's activations are not finite")
            )
        return scores

    def save(self, folder: Path) -> None:
        """Write `recognizer.json` and the weights."""
        from safetensors.torch import save

        write_bytes_atomic(
            folder / _TENSORS, save({"weight": self.weight.contiguous()}, metadata={"format": "pt"})
        )
        record = {
            "kind": self.kind,
            "base": self.judge.resident.name,
            "base_fingerprint": self.judge.resident.fingerprint,
            "layer": self.layer,
            "bias": self.bias,
            "concept": self.concept,
        }
        write_json_atomic(folder / RECOGNIZER, record)

    @classmethod
    def load(cls, folder: Path, item: str | None, open_model: Callable[[str], LM]) -> NotionScore:
        """Read what `save` wrote.

        Args:
            folder: Where.
            item: Must be None: there is one notion in a folder.
            open_model: Makes the LM of the recorded name.

        Raises:
            UserError: It can't be read, or the LM is another than the one it was made with.
        """
        if item is not None:
            raise UserError(f"{folder} holds one notion; leave out {':' + item!r}.")
        file = inside(folder, RECOGNIZER)
        record = checked(_FIELDS, read_json(file, _REMEDY), file, _REMEDY)
        tensors = read_tensors(inside(folder, _TENSORS), {"weight": Wanted("float", ("width",))}, _REMEDY)
        weight, layer = tensors["weight"].double(), record["layer"]
        base, fingerprint = record["base"], record["base_fingerprint"]
        judge = open_model(base)
        if judge.resident.fingerprint != fingerprint:
            raise UserError(
                f"The notion in {folder} was made with {base} (fingerprint {fingerprint}), and the loaded "
                f"model is {judge.resident.name} (fingerprint {judge.resident.fingerprint}); load the model "
                "that it was made with."
            )
        depth = len(decoder_blocks(judge.resident.model))
        if layer >= depth:
            raise UserError(
                f"The notion in {folder} reads layer {layer}, and {base} has layers 0 to {depth - 1}; "
                f"{_REMEDY}."
            )
        width = judge.resident.width
        if weight.shape != (width,):
            raise UserError(
                f"The notion in {folder} has weights of shape {tuple(weight.shape)}, and {base} needs "
                f"({width},): it is damaged; make it again with `dipole point`."
            )
        return cls(judge, layer, weight, record["bias"], record["concept"])
