"""The prompt surface: a token in front of what is written, for a model that was taught what it means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch

from dipole.files.schema import Field, Items, Whole
from dipole.interventions.folder import BASE, checked_apply, read_fields, require_fit, write_folder
from dipole.interventions.logits import Boost, made_for
from dipole.protocols import LM
from dipole.resident import Turns
from dipole.types import Surface

_NEVER = -1e4  # nats: the probability is exactly 0 in float32, and a divergence from it is still a number
TOKENS = Items(Whole(0), 1, 16)


@dataclass(frozen=True)
class Tag:
    """Token ids between every prompt and what is written; on (strength 1) or off (0).

    Attributes:
        tokens: The ids.
        base_name: The model whose ids they are.
        base_fingerprint: Its fingerprint.
        facts: How it came about, as plain data.
        card: Model card in Markdown.
    """

    tokens: tuple[int, ...]
    base_name: str
    base_fingerprint: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    card: str = ""

    surface: ClassVar[Surface] = "prompt"
    kind: ClassVar[str] = "tag"
    graded: ClassVar[bool] = False
    fields: ClassVar[Mapping[str, Field]] = {"tokens": TOKENS, **BASE}

    def apply(self, lm: LM, strength: float = 1.0) -> LM:
        """The LM with the tag behind every prompt.

        Raises:
            UserError: The strength is not 0 or 1, or the LM is another.
        """
        tagged = checked_apply(self, lm, strength, self.base_name, self.base_fingerprint)
        require_fit(lm, self.base_name, tokens=torch.tensor(self.tokens))
        return tagged

    def turns(self, strength: float) -> Turns:
        """Nothing stands in front of the prompt."""
        del strength
        return "", ()

    def tail(self, strength: float) -> tuple[int, ...]:
        """What stands behind it."""
        return self.tokens if strength else ()

    def save(self, folder: Path) -> None:
        """Write `dipole.json` and a card."""
        data = asdict(self)
        card, name = data.pop("card"), data.pop("base_name")
        write_folder(folder, {"surface": self.surface, "kind": self.kind, "base": name, **data}, card=card)

    @classmethod
    def load(cls, folder: Path) -> Tag:
        """Read what `save` wrote.

        Raises:
            UserError: It can't be read.
        """
        meta = read_fields(folder, cls.fields)
        return cls(tuple(meta["tokens"]), meta["base"], meta["base_fingerprint"], meta["facts"])


def tagged(lm: LM, tokens: tuple[int, int], strength: float) -> LM:
    """The LM in one of two modes that its adapter knows, and none of whose tags is ever written.

    Args:
        lm: The LM with the adapter.
        tokens: The tag of the mode that is wanted, and of the other.
        strength: Below 0 takes the other; 0 takes none.
    """
    if not strength:
        return lm
    made = Tag((tokens[0 if strength > 0 else 1],), **made_for(lm))
    ban = Boost(torch.tensor(tokens), torch.tensor([_NEVER, _NEVER]), **made_for(lm))
    return ban.apply(made.apply(lm))
