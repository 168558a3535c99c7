"""PPLM: gradient steps on the keys and values of past tokens, a few for every new token."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from dipole.decoding.guides import Session
from dipole.files.schema import Field, Number, Optional, Whole
from dipole.interventions._pplm_guide import Moves, PplmGuide
from dipole.interventions.logits import StoredChange
from dipole.tensors import Wanted

MOST_STEPS = 100  # a token: each is a pass through the model, and the paper takes three
_EVERYWHERE = 0.0


@dataclass(frozen=True, eq=False)
class Pplm(StoredChange, Moves):
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
    """

    kind: ClassVar[str] = "pplm"
    fields: ClassVar[Mapping[str, Field]] = {
        "step_size": Number(),
        "steps": Whole(0, MOST_STEPS),
        "gamma": Number(0),
        "gm": Number(0, 1),
        "kl_scale": Number(0),
        "window": Whole(),
        "horizon": Whole(0, MOST_STEPS),
        "plausible": Optional(Number(0, 1), _EVERYWHERE),
    }
    tensors: ClassVar[Mapping[str, Wanted]] = {
        "bag": Wanted("whole", ("k",), optional=True),
        "probe": Wanted("float", ("width",), optional=True),
        "probe_bias": Wanted("float", (), optional=True),
    }

    @classmethod
    def wrong_with(cls, stored: Mapping[str, Tensor]) -> str:
        """Neither of the two that could lead."""
        whole = "bag" in stored or {"probe", "probe_bias"} <= set(stored)
        return "" if whole else "hold neither a bag nor a probe"

    def reads(self) -> dict[str, Any]:
        """The tokens of the bag, the width of the probe."""
        return {"width": None if self.probe is None else len(self.probe), "tokens": self.bag}

    def guide(self, session: Session, strength: float) -> PplmGuide:
        """What changes the logits of one batch.

        Raises:
            UserError: The model keeps no keys and values.
        """
        return PplmGuide(session, self, strength)
