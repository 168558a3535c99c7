"""ASAp while text is written: estimates learnt from draws for each prompt, used by all its samples."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

from dipole.decoding.guides import Session
from dipole.decoding.sampling import draw, uniform_rows
from dipole.decoding.stepping import Steps, steps
from dipole.interventions.pools.asap import Node, biased, learn, visit
from dipole.interventions.pools.automaton import Walk
from dipole.interventions.pools.masking import masked
from dipole.interventions.pools.vocabulary import Vocabulary

Ids = tuple[int, ...]


class AsapGuide:
    """Masks each step and weighs the tokens by how likely they are to stay in the language.

    Departures from the paper:

    1. The estimates are learnt from draws of their own, as many for each prompt and with seeds made from the
       prompt alone, and then stand still. So a sample is the same in any batch and after any other, where the
       paper's n-th sample depends on the n - 1 before it.
    2. They are of the model with what is in it (adapters, vectors, prompts); interventions on logits and
       temperature change what is drawn from them afterwards.
    """

    def __init__(
        self,
        session: Session,
        walks: Sequence[Walk],
        words: Vocabulary,
        cost: float,
        rounds: int,
        budget: int,
    ) -> None:
        """Learn the estimates.

        Args:
            session: The batch.
            walks: One a row, at its start.
            words: The model's tokens.
            cost: Nats that each cut costs.
            rounds: Draws for each prompt.
            budget: Tokens a draw at most.
        """
        self._walks, self._words, self._cost = [walk.copy() for walk in walks], words, cost
        self._eos = frozenset(words.eos_ids)
        first = {row.ids: k for k, row in reversed(list(enumerate(session.rows)))}
        self._roots = {ids: Node() for ids in first}
        starts = {ids: walks[k] for ids, k in first.items()}
        stepper = steps(session.resident, session.model, list(starts))
        logits = stepper.start()
        for index in range(rounds):
            self._draw(session, stepper.fork(torch.arange(len(starts))), logits, starts, index, budget)
        self._nodes: list[Node | None] = [self._roots[row.ids] for row in session.rows]

    def _draw(
        self,
        session: Session,
        stepper: Steps,
        logits: Tensor,
        starts: dict[Ids, Walk],
        index: int,
        budget: int,
    ) -> None:
        """One draw for each prompt, and what it teaches."""
        prompts = list(starts)
        limit = session.resident.context_length
        steps = [budget if limit is None else max(1, min(budget, limit - len(ids))) for ids in prompts]
        uniforms = uniform_rows([_seed(ids, index) for ids in prompts], budget)
        walks = [walk.copy() for walk in starts.values()]
        paths = [[self._roots[ids]] for ids in prompts]
        alive = list(range(len(prompts)))
        for step in range(budget):
            rows = self._weighed(logits.float(), [walks[r] for r in alive], [paths[r][-1] for r in alive])
            tokens = draw(rows.log_softmax(-1), uniforms[alive, step])
            likely = logits.float().log_softmax(-1).gather(-1, tokens[:, None])[:, 0].exp()
            going = []
            for k, (row, token, p) in enumerate(zip(alive, tokens.tolist(), likely.tolist(), strict=True)):
                walks[row].advance(token)
                paths[row].append(visit(paths[row][-1], token, p))
                if token not in self._eos and step + 1 < steps[row]:
                    going.append(k)
            if not going:
                break
            if len(going) < len(alive):
                kept = torch.tensor(going, device=logits.device)
                stepper.keep(kept)
                alive, tokens = [alive[k] for k in going], tokens[kept]
            logits = stepper.advance(tokens)
        for path in paths:
            learn(path)

    def _weighed(self, logits: Tensor, walks: Sequence[Walk], nodes: Sequence[Node]) -> Tensor:
        rows = masked(logits, [w.allowed() for w in walks], len(self._words.texts), self._cost)
        unseen = [k for k, node in enumerate(nodes) if node.valid is None]
        if unseen:
            total = logits[unseen].logsumexp(-1)
            valid = (rows[unseen].logsumexp(-1) - total).exp().clamp(max=1.0)
            for k, value in zip(unseen, valid.tolist(), strict=True):
                nodes[k].valid = value
        return biased(rows, nodes)

    @property
    def streams(self) -> Sequence[Sequence[int]]:
        """None."""
        return ()

    def __call__(self, logits: Tensor, streams: Tensor) -> Tensor:
        """Masked logits plus log c of each next token."""
        del streams
        rows = masked(logits, [w.allowed() for w in self._walks], len(self._words.texts), self._cost)
        return biased(rows, self._nodes)

    def advance(self, tokens: Tensor) -> None:
        """Go on with the tokens `(rows,)`."""
        for row, token in enumerate(tokens.tolist()):
            self._walks[row].advance(token)
            node = self._nodes[row]
            self._nodes[row] = (
                node.children[token][1] if node is not None and token in node.children else None
            )

    def keep(self, index: Tensor) -> None:
        """Go on with these rows only; a row may be named more than once."""
        rows = index.tolist()
        self._walks = [self._walks[k].copy() for k in rows]
        self._nodes = [self._nodes[k] for k in rows]


def _seed(ids: Ids, index: int) -> int:
    digest = hashlib.sha256(repr((ids, index)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
