"""Several continuations of one text as a tree, so that what they share is computed once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

TEXT = -1  # the parent of a first token: the last token of the text


@dataclass(frozen=True)
class Tree:
    """Continuations merged by their common beginnings.

    Only tokens that predict another one are nodes: the last token of a continuation is read off the
    logits of its parent and never fed. Parents come before their children.

    Attributes:
        ids: Token id of each node.
        parents: Index of the node before it, `TEXT` for the first.
        depths: Distance from the first token, 0 for the first.
        sources: For each continuation, for each of its tokens, the node whose logits predict it.
        targets: For each continuation, its token ids.
    """

    ids: tuple[int, ...]
    parents: tuple[int, ...]
    depths: tuple[int, ...]
    sources: tuple[tuple[int, ...], ...]
    targets: tuple[tuple[int, ...], ...]

    @property
    def longest(self) -> int:
        """Tokens of the longest continuation."""
        return max(len(t) for t in self.targets)


def build_tree(continuations: Sequence[Sequence[int]]) -> Tree:
    """Merge continuations, each of at least one token, by their common beginnings."""
    children: dict[tuple[int, int], int] = {}
    ids: list[int] = []
    parents: list[int] = []
    depths: list[int] = []
    sources: list[tuple[int, ...]] = []
    for continuation in continuations:
        assert continuation, "an empty continuation has no likelihood"
        node, path = TEXT, [TEXT]
        for depth, token in enumerate(continuation[:-1]):
            if (node, token) not in children:
                children[node, token] = len(ids)
                ids.append(token)
                parents.append(node)
                depths.append(depth)
            node = children[node, token]
            path.append(node)
        sources.append(tuple(path))
    targets = tuple(tuple(c) for c in continuations)
    return Tree(tuple(ids), tuple(parents), tuple(depths), tuple(sources), targets)


def visibility(tree: Tree) -> Tensor:
    """Which node sees which, `(nodes, nodes)` boolean: each sees itself and its ancestors."""
    size = len(tree.ids)
    seen = torch.zeros(size, size, dtype=torch.bool)
    for node, parent in enumerate(tree.parents):
        if parent != TEXT:
            seen[node] = seen[parent]
        seen[node, node] = True
    return seen


def packed_mask(lengths: Sequence[int], tree: Tree, dtype: torch.dtype) -> Tensor:
    """Additive attention mask of rows laid out as padding, text, tree.

    Args:
        lengths: Tokens of each text; the longest has no padding.
        tree: What follows every text.
        dtype: Floating type of the model.

    Returns:
        `(batch or 1, 1, width, width)`: 0 where a column is seen and the type's minimum where it is not. The
        batch dimension is 1 where no row has padding. A padding row sees itself, so no row is all masked.
    """
    text, nodes = max(lengths), len(tree.ids)
    width = text + nodes
    seen = torch.ones(width, width, dtype=torch.bool).tril()
    seen[text:, text:] = visibility(tree)
    if min(lengths) == text:
        batch = seen[None]
    else:
        columns = torch.arange(width)
        real = columns[None, :] >= (text - torch.tensor(list(lengths)))[:, None]  # (batch, width)
        batch = seen[None] & (real[:, None, :] | torch.eye(width, dtype=torch.bool)[None])
    mask = torch.zeros(batch.shape, dtype=dtype).masked_fill_(~batch, torch.finfo(dtype).min)
    return mask[:, None]
