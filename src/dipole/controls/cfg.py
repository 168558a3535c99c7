"""Classifier-free guidance: the model told the claim against the model told nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from dipole.controls.contrast import Contrast


@dataclass(frozen=True)
class CFG(Contrast):
    """Go from the model told nothing towards, and beyond, the model told the claim.

    The guidance at strength 1 is the weight that was chosen: at 1 the model writes as if it had been told,
    beyond that more strongly so. Two streams of rows go through the model in one batch. Departure from the
    paper: the unconditional side reads the whole prompt without the claim, where the released code has it
    read the last token of the prompt alone, because here the condition is the claim and not the prompt.

    Attributes:
        template: What stands in front of a prompt, `{pole}` being the claim; as for contrast by default.
        cut: Keep tokens with at least this share of the likeliest under the model or under the model told the
            claim, such as 0.1; 0 keeps all, as published.
        weights: Guidance to try, with commas.
    """

    weights: str = "0.5,1,1.5,2,3,5,8"

    name: ClassVar[str] = "cfg"
    paper: ClassVar[str] = "Sanchez 2023, arXiv:2306.17806"
    two_sided: ClassVar[bool] = False
