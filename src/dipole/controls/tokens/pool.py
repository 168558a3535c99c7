"""Label sets: say one of a few texts and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from dipole.concepts.text import texts_of
from dipole.controls._concept import require_dipole
from dipole.controls.tokens._fitted import checked
from dipole.interventions.tokens import Labels
from dipole.interventions.tokens import Pool as Intervention
from dipole.protocols import JudgedBy, Poles
from dipole.types import Surface, UserError

if TYPE_CHECKING:
    from dipole.protocols import LM, Run


@dataclass(frozen=True)
class Pool:
    """Say one of a few labels and nothing else.

    Without labels these are the dipole's mentions of both sides, or its two poles where it has none.

    Attributes:
        labels: What may be said; give the flag once for each.
        terminator: Text behind every label, such as a full stop.
        sampling: local (mask each step), global (score every label, draw from the softmax), or asap.
        count_end: For global: count the probability that the text ends behind the label.
        prior: For global: a prompt without content whose scores are subtracted, such as N/A.
        rounds: For asap: draws for each prompt that it learns from.
    """

    labels: tuple[str, ...] = ()
    terminator: str = ""
    sampling: str = "local"
    count_end: bool = True
    prior: str = ""
    rounds: int = 32

    name: ClassVar[str] = "pool"
    takes: ClassVar[tuple[str, ...]] = ("dipole",)
    surface: ClassVar[Surface] = "tokens"
    makes: ClassVar[type[Intervention]] = Intervention
    graded: ClassVar[bool] = False
    paper: ClassVar[str] = "Bricman 2022; Park 2024, arXiv:2405.21047"
    optional_concept: ClassVar[bool] = True
    judged_by: ClassVar[JudgedBy] = JudgedBy()

    def __post_init__(self) -> None:
        """Refuse what no pool can be made of."""
        object.__setattr__(self, "labels", texts_of(self.labels, "labels"))
        self._pool(self.labels or ("a",))

    def fit(self, lm: LM, concept: Any = None, run: Run | None = None) -> Intervention:
        """The pool.

        Args:
            lm: The model that it must work with.
            concept: A dipole; not needed where labels are given.
            run: Nothing is trained.

        Raises:
            UserError: There are no labels and no dipole, or the tokenizer can't write a label.
        """
        labels = self.labels
        if concept is None and not labels:
            raise UserError("pool needs something that may be said: give labels=…, or a dipole.")
        if concept is not None:
            dipole = require_dipole(self, concept)
            labels = labels or _of(dipole)
        return checked(self._pool(labels), lm)

    def _pool(self, labels: tuple[str, ...]) -> Intervention:
        return Intervention(
            Labels(labels, self.terminator),
            self.sampling,
            self.rounds,
            prior=self.prior,
            count_end=self.count_end,
        )


def _of(dipole: Poles) -> tuple[str, ...]:
    """Labels of a dipole: the mentions of both sides, or the poles."""
    if dipole.mentions.claim and dipole.mentions.against:
        return (*dipole.mentions.claim, *dipole.mentions.against)
    return (dipole.claim, dipole.against)
