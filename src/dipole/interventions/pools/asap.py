"""Adaptive sampling with approximate expected futures (ASAp; Park et al. 2024, arXiv:2405.21047)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(eq=False)
class Node:
    """A prefix that was sampled.

    Attributes:
        log_future: Log of the estimate c of the probability that what the model says from here on stays in
            the language; an upper bound that only falls. 0 until something is known.
        valid: Probability of the tokens that the language allows next; None until it was seen.
        children: Sampled next tokens, each with its probability.
    """

    log_future: float = 0.0
    valid: float | None = None
    children: dict[int, tuple[float, Node]] = field(default_factory=dict)

    def bias(self) -> tuple[list[int], list[float]]:
        """Tokens whose estimate is known, and its log; of all others it is 0 (c = 1)."""
        return list(self.children), [child.log_future for _, child in self.children.values()]

    def refresh(self) -> None:
        """Set c to the sum over allowed tokens v of p(v) c(v); children not sampled yet have c = 1."""
        if self.valid is not None:
            known = sum(p * -math.expm1(min(child.log_future, 0.0)) for p, child in self.children.values())
            future = min(max(self.valid - known, 0.0), 1.0)
            estimate = math.log(future) if future > 0 else -math.inf
            self.log_future = min(self.log_future, estimate)


def learn(path: Sequence[Node]) -> None:
    """Update the estimates along a sampled path, from its end to its root."""
    for node in reversed(path):
        node.refresh()


def visit(node: Node, token: int, probability: float) -> Node:
    """The node behind a token that was drawn.

    Args:
        node: Where it was drawn.
        token: The token.
        probability: What the model gives it, before any mask.
    """
    if token not in node.children:
        node.children[token] = (probability, Node())
    return node.children[token][1]


def biased(logits: Tensor, nodes: Sequence[Node | None]) -> Tensor:
    """Masked logits plus log c of each next token, `(rows, vocab)`.

    A row whose every allowed token was found to lead out of the language is left as it was.

    Args:
        logits: `(rows, vocab)`, -inf where a token is not allowed.
        nodes: The prefix of each row; None where nothing is known.
    """
    out = logits.clone()
    for row, node in enumerate(nodes):
        if node is not None and node.children:
            tokens, logs = node.bias()
            out[row, tokens] += torch.tensor(logs, dtype=out.dtype, device=out.device)
    lost = out.amax(-1, keepdim=True).isneginf()
    return torch.where(lost, logits, out)
