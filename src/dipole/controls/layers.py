"""Which layers a control of activations looks at, and which way it finds a direction there."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple, get_args

from torch import Tensor

from dipole.controls._dial import Measured
from dipole.engaging.blocks import decoder_blocks
from dipole.engaging.operators import Operator
from dipole.interventions.activations import SteeringVector
from dipole.probing.directions import (
    Direction,
    mean_difference,
    pairwise_accuracy,
    principal_direction,
    probe_direction,
)
from dipole.protocols import LM, Poles
from dipole.reading.pairs import (
    READ_TOKEN,
    Reading,
    norms_of,
    read_pairs,
    spread_layers,
    wordings_for,
    wordings_hash,
)
from dipole.reading.sides import answers, names_both
from dipole.reading.slopes import slopes
from dipole.types import Surface, UserError

Method = Literal["auto", "gradient", "mean-difference", "pca", "probe"]
METHODS: tuple[Method, ...] = get_args(Method)
_NO_WORDS = (
    "method gradient needs words for both sides, which show what either would answer; give the dipole "
    "mentions, or take another method."
)
FINDERS: Mapping[Method, Callable[[Tensor, Tensor], Direction]] = {
    "mean-difference": mean_difference,
    "pca": principal_direction,
    "probe": probe_direction,
}
_AUTO = "auto"
_ROUNDING = 1e-5  # of the largest number in float32


def check_layers(text: str) -> None:
    """Refuse layers that are no numbers.

    Raises:
        UserError: They are neither `auto` nor whole numbers with commas.
    """
    if text != _AUTO:
        _numbers(text)


def layers_of(text: str, lm: LM, most: int) -> tuple[int, ...]:
    """Layers to try: those that were named, or as `spread_layers` has them.

    Args:
        text: `auto`, or numbers with commas; negative ones count from the end.
        lm: The LM whose layers they are.
        most: How many `auto` may give.

    Raises:
        UserError: The LM has no such layer.
    """
    depth = len(decoder_blocks(lm.resident.model))
    if text == _AUTO:
        return spread_layers(depth, most)
    found = []
    for number in _numbers(text):
        if not -depth <= number < depth:
            raise UserError(
                f"{lm.resident.name} has layers 0 to {depth - 1} (or -1 for the last), and layer {number} "
                "was asked for."
            )
        found.append(number % depth)
    return tuple(dict.fromkeys(found))


def _numbers(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise UserError(f"layers must be 'auto' or numbers such as 8,12,16, and is {text!r}.") from None


def directions(method: Method, reading: Reading, layers: Sequence[int]) -> dict[int, Direction]:
    """The direction at each layer.

    Raises:
        UserError: The poles leave the same activations everywhere, or at one of the layers.
    """
    found = {}
    for row, layer in enumerate(layers):
        claim, against = reading.claim[row], reading.against[row]
        # Rows of one text differ in the last bits where they stand in batches of other shapes.
        if float((claim - against).abs().max()) <= _ROUNDING * float(claim.abs().max()):
            raise UserError(
                f"The claim and its opposite leave the same activations after layer {layer}, so there is no "
                "direction between them; check that the model's tokenizer tells the poles apart."
            )
        found[layer] = FINDERS[method](claim, against)
    return found


def uphill(lm: LM, dipole: Poles, prompts: Sequence[str], layers: Sequence[int]) -> dict[int, Direction]:
    """The direction at each layer in which the claim's answers gain most on the other side's.

    Raises:
        UserError: The dipole lacks words for one of its sides.
    """
    if not names_both(dipole):
        raise UserError(_NO_WORDS)
    found = slopes(lm, answers(lm, dipole, prompts), layers)
    return {layer: Direction(row, 1) for layer, row in zip(layers, found, strict=True)}


def accuracies(found: Mapping[int, Direction], reading: Reading) -> dict[int, float]:
    """Share of other pairs that each layer's direction puts in the right order."""
    return {
        layer: pairwise_accuracy(direction.vector, reading.claim[row], reading.against[row])
        for row, (layer, direction) in enumerate(found.items())
    }


def steering_vector(
    lm: LM,
    direction: Direction,
    layer: int,
    norms: tuple[float, float],
    operator: Operator,
    keep_norm: bool = False,
    facts: Mapping[str, Any] | None = None,
) -> SteeringVector:
    """A direction as an intervention.

    Args:
        lm: What it was read from.
        direction: Direction and sign.
        layer: Where it was read, and where it acts.
        norms: Median and mean norm of that layer's activations.
        operator: What is done with it.
        keep_norm: Rescale the states afterwards.
        facts: How it was made.
    """
    resident = lm.resident
    return SteeringVector(
        (layer,),
        direction.vector[None].float(),
        operator,
        keep_norm,
        (direction.sign,),
        norms[:1],
        norms[1:],
        READ_TOKEN,
        wordings_hash(wordings_for(resident)),
        resident.fingerprint,
        resident.name,
        str(resident.model.config.model_type),
        facts or {},
    )


class Read(NamedTuple):
    """What was read at some layers.

    Attributes:
        directions: Of each layer.
        vectors: The same as interventions, in their order.
        facts: How they were read, for `dipole.json`.
    """

    directions: Mapping[int, Direction]
    vectors: list[SteeringVector]
    facts: dict[str, Any]


@dataclass(frozen=True)
class OfLayers(Measured):
    """A control of activations that reads a direction at each of some layers.

    Attributes:
        method: How the direction is found: gradient, mean-difference, pca or probe.
        layers: Layers to try, counted from 0 with commas (negative from the end), or auto.
    """

    method: Method = "mean-difference"
    layers: str = "auto"

    surface: ClassVar[Surface] = "activations"
    makes: ClassVar[type[SteeringVector]] = SteeringVector
    counts: ClassVar[tuple[str, ...]] = ("max_layers",)

    @property
    @abstractmethod
    def max_layers(self) -> int:
        """How many layers auto tries, evenly spread."""

    def __post_init__(self) -> None:
        """Refuse what means nothing."""
        super().__post_init__()
        if self.method not in METHODS:
            raise UserError(f"method must be one of {', '.join(METHODS)}, and is {self.method!r}.")
        check_layers(self.layers)

    def read(
        self, lm: LM, dipole: Poles, prompts: Sequence[str], operator: Operator, keep_norm: bool = False
    ) -> Read:
        """The direction of each layer.

        Raises:
            UserError: There is no such layer, the poles leave the same activations at one, or the prompts do
                not fit in the context.
        """
        layers = layers_of(self.layers, lm, self.max_layers)
        method = self.method
        if method == "auto":
            method = "gradient" if operator == "add" and names_both(dipole) else "mean-difference"
        if method == "gradient":
            found, norms = uphill(lm, dipole, prompts, layers), norms_of(lm, prompts, layers)
            facts: dict[str, Any] = {"method": method, "pairs": len(prompts)}
        else:
            reading = read_pairs(lm, dipole, prompts, layers)
            found, norms = directions(method, reading, layers), list(map(reading.norms, range(len(layers))))
            wordings = list(wordings_for(lm.resident))
            facts = {"method": method, "wordings": wordings, "pairs": reading.claim.shape[1]}
        made = [
            steering_vector(lm, direction, layer, norm, operator, keep_norm)
            for (layer, direction), norm in zip(found.items(), norms, strict=True)
        ]
        return Read(found, made, facts)
