"""DExperts: follow an expert model, avoid an anti-expert; with the base as expert, contrastive decoding."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from dipole.controls._dial import Weighed
from dipole.controls.contrast import check_template, told_with
from dipole.decoding.guides import Session
from dipole.files.paths import given_path
from dipole.interventions.experts import Experts, Source, lm_of
from dipole.interventions.logits import made_for
from dipole.models.sources import is_name
from dipole.protocols import Poles
from dipole.types import UserError

if TYPE_CHECKING:
    from dipole.protocols import LM


@dataclass(frozen=True)
class DExperts(Weighed[Experts]):
    """Add to the logits what an expert says over an anti-expert, among the tokens that the base finds likely.

    Either side is another model with the same tokenizer (folder or hub id), or the folder of an intervention
    on this model's weights or activations. A side that is left out is the base; with both left out they are
    the model told the claim and the model told its opposite. With an anti-expert alone and `cut` on, it is
    contrastive decoding (Li 2022), the anti-expert being the amateur.

    Attributes:
        expert: Model or intervention that is followed.
        anti: Model or intervention that is avoided.
        top_p: Keep the smallest set of tokens with this probability under the base; 1 keeps all.
        cut: Keep tokens with at least this share of the base's likeliest; 0 keeps all, 0.1 as published for
            contrastive decoding.
        temperature: Divides the amateur's logits in contrastive decoding.
        template: What stands in front of a prompt where a side is told a statement, `{pole}`; as for contrast
            by default.
        weights: Weights of the difference to try, with commas.
    """

    expert: str = ""
    anti: str = ""
    top_p: float = 0.9
    cut: float = 0.0
    temperature: float = 1.0
    template: str = ""
    weights: str = "1,2,4,8"

    name: ClassVar[str] = "dexperts"
    makes: ClassVar[type[Experts]] = Experts
    paper: ClassVar[str] = "Liu 2021, arXiv:2105.03023; Li 2022, arXiv:2210.15097"

    def __post_init__(self) -> None:
        """Refuse what means nothing."""
        super().__post_init__()
        check_template(self.template)
        if not 0 < self.top_p <= 1:
            raise UserError(f"top_p must be above 0 and at most 1, and is {self.top_p}.")
        if not 0 <= self.cut < 1:
            raise UserError(f"cut must be at least 0 and below 1, and is {self.cut}.")
        if not 1e-6 <= self.temperature < float("inf"):  # below it, dividing logits by it gives infinities
            raise UserError(f"temperature must be at least 1e-6 and finite, and is {self.temperature}.")

    def maker(self, lm: LM, dipole: Poles) -> Callable[[float, Mapping[str, Any]], Experts]:
        """Both experts.

        Raises:
            UserError: A side can't be loaded.
        """
        expert, anti = self._sides(lm, dipole)

        def make(weight: float, facts: Mapping[str, Any]) -> Experts:
            numbers = (weight, self.top_p, self.cut, self.temperature)
            return Experts(expert, anti, *numbers, facts=facts, **made_for(lm))

        return make

    def _sides(self, lm: LM, dipole: Poles) -> tuple[Source, Source]:
        if not self.expert and not self.anti:
            told = (told_with(lm, self.template, pole) for pole in (dipole.claim, dipole.against))
            expert, anti = (Source("told", text) for text in told)
            return expert, anti
        return _named(lm, self.expert), _named(lm, self.anti)


def _named(lm: LM, name: str) -> Source:
    """The side that a folder or hub id stands for, seen to load."""
    if not name:
        return Source("base")
    folder = given_path(name, "The expert")
    is_intervention = not is_name(name) and any(
        (folder / part / file).is_file()
        for part in (".", "adapter")
        for file in ("dipole.json", "adapter_config.json")
    )
    source = Source("intervention" if is_intervention else "model", name)
    found = lm_of(source, Session(lm.resident, lm.resident.model, [], lm.prompt_ids))
    with found.engaged():  # refuses one that is steered outside the model
        pass
    return source if is_intervention else Source("model", name, found.resident.fingerprint)
