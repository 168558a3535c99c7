"""PPLM: gradient steps on the keys and values of past tokens, a few for every new token."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor

from dipole.decoding.guides import Session
from dipole.files.schema import Field, Number, Optional, Whole
from dipole.interventions._pplm_guide import PplmGuide
from dipole.interventions.folder import (
    BASE,
    checked_apply,
    folder_tensors,
    read_fields,
    require_fit,
    write_folder,
)
from dipole.interventions.logits import base_of
from dipole.tensors import Wanted, aligned
from dipole.types import Surface, UserError

if TYPE_CHECKING:
    from dipole.lm import LM

MOST_STEPS = 100  # a token: each is a pass through the model, and the paper takes three
_EVERYWHERE = 0.0
_NUMBERS: dict[str, Field] = {
    "step_size": Number(),
    "steps": Whole(0, MOST_STEPS),
    "gamma": Number(0),
    "gm": Number(0, 1),
    "kl_scale": Number(0),
    "window": Whole(),
    "horizon": Whole(0, MOST_STEPS),
}
_FIELDS: dict[str, Field] = {**BASE, **_NUMBERS, "plausible": Optional(Number(0, 1), _EVERYWHERE)}
_TENSORS = {
    "bag": Wanted("whole", ("k",), optional=True),
    "probe": Wanted("float", ("width",), optional=True),
    "probe_bias": Wanted("float", (), optional=True),
}


@dataclass(frozen=True, eq=False)
class Pplm:
    """Moves the past that the model attends to until it says what is wanted (Dathathri et al. 2020).

    Strength multiplies the step size. A negative one descends the loss of the opposite, -log of what the bag
    or the probe leaves, and the KL as before; with `plausible` 0 it climbs the bag's own loss.

    Departures from the released code:

    1. The recent window is the last positions; the release built its mask the wrong way round and moved the
       oldest ones.
    2. Norms of gradients are taken for each row, so that a row does not depend on its batch; padding has no
       gradient and gets no step. The largest norm so far counts, also for a probe, where the release takes
       the present one: a step would be longest where a probe is content and its gradient next to nothing.
    3. Temperature and truncation come after the fusion, for both distributions alike; the release tempers the
       perturbed one alone.
    4. A probe reads the mean over the states of the continuation, from the prompt's last token on; the
       release means over the prompt too, and divides by one more than there are.
    5. The step has one length throughout a text (the release's decay and grad_length are left out).
    6. With `plausible` above 0 the past of a row is left as it is where no word of the bag could stand: the
       loss of a bag is steepest where the bag is least likely, and steps there only spoil the text. The
       release steps at every token, which is `plausible` 0.
    7. With a horizon a probe reads the unperturbed state of the newest token and not the perturbed one, so
       that the only way to please it leads through the next token's distribution.

    Attributes:
        bag: `(k,)` int64 tokens of a bag of words, or none where a probe is used.
        probe: `(width,)` float32 weights of a linear probe on the mean final hidden state, or none.
        probe_bias: `()` float32.
        step_size: Length of a step at strength 1 and gamma 1.
        steps: Gradient steps a token (m).
        gamma: Exponent of the gradient's norm.
        gm: Share of the perturbed distribution in the geometric mean with the unperturbed one.
        kl_scale: Weight of the KL to the unperturbed distribution in the loss.
        window: Last positions that are moved; 0 is all.
        horizon: Steps ahead that a probe looks.
        base_name: The model it was fitted on.
        base_fingerprint: Its fingerprint.
        facts: How it was made, as plain data.
        card: Model card in Markdown.
        plausible: Least probability of the bag, as a share of that of the likeliest token, for steps to be
            taken; 0 takes them at every token. A probe takes them at every token.
    """

    bag: Tensor | None
    probe: Tensor | None
    probe_bias: Tensor | None
    step_size: float
    steps: int
    gamma: float
    gm: float
    kl_scale: float
    window: int
    horizon: int
    base_name: str
    base_fingerprint: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    card: str = ""
    plausible: float = _EVERYWHERE

    surface: ClassVar[Surface] = "logits"
    kind: ClassVar[str] = "pplm"
    graded: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Bring the numbers to alignment, as they are after they were loaded."""
        for name in _TENSORS:
            found = getattr(self, name)
            object.__setattr__(self, name, None if found is None else aligned(found))

    def apply(self, lm: LM, strength: float = 1.0) -> LM:
        """The LM with a past that is moved; negative strengths move it the other way.

        Raises:
            UserError: The strength is not finite, or the LM is another.
        """
        steered = checked_apply(self, lm, strength, self.base_name, self.base_fingerprint)
        require_fit(
            lm, self.base_name, width=None if self.probe is None else len(self.probe), tokens=self.bag
        )
        return steered

    def guide(self, session: Session, strength: float) -> PplmGuide:
        """What changes the logits of one batch.

        Raises:
            UserError: The model keeps no keys and values.
        """
        return PplmGuide(session, self, strength)

    def save(self, folder: Path) -> None:
        """Write tensors, `dipole.json` and a card."""
        found = {"bag": self.bag, "probe": self.probe, "probe_bias": self.probe_bias}
        numbers = {name: getattr(self, name) for name in _NUMBERS}
        meta = {
            "surface": self.surface,
            "kind": self.kind,
            **base_of(self),
            **numbers,
            "plausible": self.plausible,
            "facts": self.facts,
        }
        write_folder(folder, meta, {k: v for k, v in found.items() if v is not None}, self.card)

    @classmethod
    def load(cls, folder: Path) -> Pplm:
        """Read what `save` wrote.

        Raises:
            UserError: It can't be read.
        """
        meta, tensors = read_fields(folder, _FIELDS), folder_tensors(folder, _TENSORS)
        if "bag" not in tensors and not {"probe", "probe_bias"} <= set(tensors):
            raise UserError(f"The tensors in {folder} hold neither a bag nor a probe; fit the control again.")
        return cls(
            tensors.get("bag"),
            tensors.get("probe"),
            tensors.get("probe_bias"),
            base_name=meta["base"],
            base_fingerprint=meta["base_fingerprint"],
            **{name: meta[name] for name in (*_NUMBERS, "facts", "plausible")},
        )
