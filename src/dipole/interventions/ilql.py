"""Guidance by action values: a token is likelier by how much better the text is expected to end with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NoReturn

import torch
from torch import Tensor
from torch.nn.functional import linear

from dipole.decoding.guides import Session
from dipole.decoding.stepping import steps
from dipole.files.schema import Field, Number, Optional, Whole
from dipole.interventions._fudge_guide import likeliest
from dipole.interventions.logits import StoredChange
from dipole.tensors import Wanted
from dipole.types import UserError


def under_head(hidden: Tensor) -> Tensor:
    """Hidden states `(…, width)` as the heads read them: float32, each with a mean square of 1."""
    hidden = hidden.float()
    scale: Tensor = hidden.square().mean(-1, keepdim=True)
    return hidden * (scale + 1e-12).rsqrt()


def perceptron(x: Tensor, into: Tensor, out: Tensor) -> Tensor:
    """Two layers with a ReLU between them; the last column of each is its bias.

    Args:
        x: `(…, width)`.
        into: `(inner, width + 1)`.
        out: `(outputs, inner + 1)`.
    """
    inner = linear(x, into[:, :-1], into[:, -1]).relu()
    return linear(inner, out[:, :-1], out[:, -1])


def action_values(found: Tensor, tokens: Tensor, table: Tensor) -> Tensor:
    """Q of some tokens: what a head gives, times the token's row, plus what it gives to all alike.

    Args:
        found: `(…, width + 1)`.
        tokens: `(…, k)` ids.
        table: `(vocab, width)`, as `Ilql` describes it.
    """
    rows = table[tokens.to(table.device)].float()
    return (rows * found[..., None, :-1]).sum(-1) + found[..., -1:]


def reweighted(logits: Tensor, tokens: Tensor, taken: Tensor, advantage: Tensor) -> Tensor:
    """Add A to the candidates, and to all other tokens the least that a candidate gets.

    What the model hardly writes was hardly seen in training, so its value is a guess: the worst is assumed.

    Args:
        logits: `(rows, vocab)`; -inf stays.
        tokens: `(rows, k)` candidates.
        taken: `(rows, k)` which of them are some.
        advantage: `(rows, k)` what is added to them; a number that is the same in a row changes nothing.
    """
    least = advantage.masked_fill(~taken, torch.inf).amin(1, keepdim=True)
    change = least.expand_as(logits).clone()
    return logits + change.scatter(1, tokens, torch.where(taken, advantage, least))


@dataclass(frozen=True, eq=False)
class Ilql(StoredChange):
    """Adds strength * beta * (min of two Q) to the logits (Snell et al. 2022, section 4.3).

    Below 0 it is the larger of the two, so a token is avoided for what it is surely worth.

    Q of a token is what a small network makes of the state under the language-model head, times the token's
    row of that head, over the mean length of a row, plus a number for all tokens alike. V is left out: it is
    the same for all tokens, so it changes no probability.

    Attributes:
        into: `(2, inner, width + 1)` float32, first layers of the two target heads, biases last.
        out: `(2, width + 1, inner + 1)` float32, second layers.
        policy: `(width, width)` float32, what is added to the state for the cloned policy; zeros for none.
        beta: Size at strength 1.
        candidates: The likeliest next tokens, whose values count; of others the worst of these is assumed.
        mass: Share of the probability that the candidates must have together, so that there are fewer where
            the model is sure; 1 takes all.
    """

    into: Tensor
    out: Tensor
    policy: Tensor
    beta: float
    candidates: int
    mass: float = 1.0

    kind: ClassVar[str] = "ilql"
    fields: ClassVar[Mapping[str, Field]] = {
        "beta": Number(0, above=True),
        "candidates": Whole(1, 1_000_000),
        "mass": Optional(Number(0, 1, above=True), 1.0),
    }
    tensors: ClassVar[Mapping[str, Wanted]] = {
        "into": Wanted("float", ("heads", "inner", "width + 1")),
        "out": Wanted("float", ("heads", "width + 1", "inner + 1")),
        "policy": Wanted("float", ("width", "width")),
    }

    @classmethod
    def wrong_with(cls, stored: Mapping[str, Tensor]) -> str:
        """Layers that do not follow on each other."""
        into, out, policy = stored["into"], stored["out"], stored["policy"]
        fits = out.shape == (2, into.shape[2], into.shape[1] + 1) and policy.shape[0] == into.shape[2] - 1
        return "" if into.shape[0] == 2 and fits else "are no two heads of one width"

    def reads(self) -> dict[str, Any]:
        """The width."""
        return {"width": len(self.policy)}

    def guide(self, session: Session, strength: float) -> IlqlGuide:
        """What changes the logits of one batch.

        Raises:
            UserError: The model has no language-model head to read under.
        """
        return IlqlGuide(session, self, strength)


class IlqlGuide:
    """Reads the states of the rows beside the batch, up to the language-model head."""

    streams: Sequence[Sequence[int]] = ()

    def __init__(self, session: Session, made: Ilql, strength: float) -> None:
        """Prepare; the prompts are read at the first step."""
        head = head_of(session.resident)
        self._table, device = head.weight, head.weight.device
        self._scale = mean_length(self._table)
        self._heads = [made.into.to(device), made.out.to(device), made.policy.to(device)]
        self._candidates, self._mass = made.candidates, made.mass
        self._beta, self._strength = made.beta, strength
        reader = _reader(head)
        self._stepper = steps(session.resident, session.model, [row.ids for row in session.rows], reader)
        self._states: Tensor | None = None  # (rows, width)

    def __call__(self, logits: Tensor, streams: Tensor) -> Tensor:
        """Changed logits."""
        del streams
        if self._states is None:
            self._states = self._stepper.start()
        tokens, taken = likeliest(logits, self._candidates, self._mass)
        change = self._strength * self._advantage(self._states, tokens).to(logits.device)
        return reweighted(logits, tokens, taken, change)

    def advance(self, tokens: Tensor) -> None:
        """Take the tokens that were chosen."""
        self._states = self._stepper.advance(tokens)

    def keep(self, index: Tensor) -> None:
        """Go on with these rows only."""
        self._stepper.keep(index)
        assert self._states is not None
        self._states = self._states[index.to(self._states.device)]

    def _advantage(self, states: Tensor, tokens: Tensor) -> Tensor:
        """What is added at strength 1: beta Q, and what the cloned policy says, `(rows, k)`."""
        into, out, policy = self._heads
        x = under_head(states)
        pair = [perceptron(x, into[k], out[k]) / self._scale_of(x) for k in (0, 1)]
        both = torch.stack([action_values(found, tokens, self._table) for found in pair])
        values = both.amin(0) if self._strength > 0 else both.amax(0)
        rows = self._table[tokens.to(self._table.device)].float()
        cloned = (rows * linear(x, policy)[:, None]).sum(-1) / self._scale
        found: Tensor = self._beta * values + cloned
        return found

    def _scale_of(self, x: Tensor) -> Tensor:
        """The divisor of each output: the mean length of a row, and 1 for what all tokens share."""
        scale = x.new_full((x.shape[-1] + 1,), self._scale)
        scale[-1] = 1.0
        return scale


def mean_length(table: Tensor) -> float:
    """Mean length of the rows of the language-model head."""
    return float(torch.linalg.vector_norm(table.detach(), dim=1, dtype=torch.float32).mean())


def head_of(resident: Any) -> Any:
    """The language-model head.

    Raises:
        UserError: The model has none whose rows can be read.
    """
    head = resident.model.get_output_embeddings()
    weight = getattr(head, "weight", None)
    if weight is None or not weight.is_floating_point() or weight.shape[1] != resident.width:
        raise UserError(
            f"{resident.name} has no language-model head of the width of its states, which ilql reads "
            "values from; use another model."
        )
    return head


class _Enough(Exception):
    """The state under the head was read; the logits are not needed."""


def _reader(head: Any) -> Any:
    """The state under the head at the last column, `(rows, width)`."""

    def read(model: Any, inputs: dict[str, Any]) -> Tensor:
        caught: list[Tensor] = []

        def stop(_module: Any, args: Any) -> NoReturn:
            caught.append(args[0][:, -1])
            raise _Enough

        handle = head.register_forward_pre_hook(stop)
        try:
            model(**inputs)
        except _Enough:
            pass
        finally:
            handle.remove()
        return caught[0]

    return read
