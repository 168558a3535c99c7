"""Rows that share a prompt in one sequence, so that the prompt is read once for all its responses.

A packed sequence is `[padding | prompt | response | response | …]`. A mask keeps each response from seeing
the others, and positions start again after the prompt at each, so what is read is what each row alone
would give, up to rounding. The last token of a response predicts nothing and is left out.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from dipole.controls.weights.rollout import Rows

_WORTH = 0.8
_PADDING, _PROMPT = -1, 0  # owners of a column; the responses of a sequence are 1, 2, …


class Layout(NamedTuple):
    """How to read rows, and where each prediction then stands.

    Attributes:
        inputs: Keyword arguments of the model's forward.
        keep: How many columns at the end get logits.
        sequence: `(rows, tokens)` index of the sequence that holds the prediction of each response token.
        column: `(rows, tokens)` its column among the kept ones.
    """

    inputs: dict[str, Tensor]
    keep: int
    sequence: Tensor
    column: Tensor


def pack(rows: Rows, pad_id: int, dtype: torch.dtype, widest: int) -> Layout | None:
    """Pack rows with equal prompts; None where that would save less than a fifth of the tokens.

    Args:
        rows: Left-padded prompts with responses.
        pad_id: Fills what is left over.
        dtype: Floating type of the model, for the mask.
        widest: Tokens of a sequence at most; the responses of one prompt are dealt over several sequences
            where they are more. Rows of which one alone is wider are not packed.
    """
    groups = _groups(rows, widest)
    prompt_width = max(len(prompt) for prompt, _ in groups)
    tail_width = max(sum(len(r) - 1 for _, r in members) for _, members in groups)
    width = prompt_width + tail_width
    if width > widest or len(groups) * width > _WORTH * rows.batch.input_ids.numel():
        return None
    ids = torch.full((len(groups), width), pad_id, dtype=torch.long)
    positions = torch.zeros_like(ids)
    owner = torch.full_like(ids, _PADDING)
    sequence = torch.zeros(rows.mask.shape, dtype=torch.long)
    column = torch.zeros_like(sequence)
    tokens = rows.mask.shape[1]
    for k, (prompt, members) in enumerate(groups):
        start = prompt_width - len(prompt)
        ids[k, start:prompt_width] = torch.tensor(prompt)
        positions[k, start:prompt_width] = torch.arange(len(prompt))
        owner[k, start:prompt_width] = _PROMPT
        at = prompt_width
        for number, (row, response) in enumerate(members, start=1):
            fed = len(response) - 1
            ids[k, at : at + fed] = torch.tensor(response[:-1], dtype=torch.long)
            positions[k, at : at + fed] = torch.arange(len(prompt), len(prompt) + fed)
            owner[k, at : at + fed] = number
            first = tokens - len(response)
            sequence[row, first:] = k
            # The first token is predicted at the end of the prompt, which is the first kept column.
            column[row, first + 1 :] = torch.arange(at, at + fed) - (prompt_width - 1)
            at += fed
    device = rows.mask.device
    inputs = {
        "input_ids": ids.to(device),
        "position_ids": positions.to(device),
        "attention_mask": additive_mask(owner.to(device), dtype),
    }
    return Layout(inputs, 1 + tail_width, sequence.to(device), column.to(device))


def additive_mask(owner: Tensor, dtype: torch.dtype) -> Tensor:
    """Mask `(sequences, 1, width, width)`: 0 where a column is seen, the type's minimum where it is not.

    A column sees the prompt and its own response up to itself. Padding sees itself, so that no row of the
    mask is empty.

    Args:
        owner: `(sequences, width)` 0 for the prompt, 1, 2, … for its responses, -1 for padding.
        dtype: Floating type of the model.
    """
    width = owner.shape[1]
    reader, read = owner[:, :, None], owner[:, None, :]
    seen = (read == _PROMPT) & (reader != _PADDING) | (read == reader) & (reader != _PADDING)
    seen = seen.tril() | torch.eye(width, dtype=torch.bool, device=owner.device)
    mask = torch.zeros(seen.shape, dtype=dtype, device=owner.device)
    return mask.masked_fill_(~seen, torch.finfo(dtype).min)[:, None]


Group = tuple[list[int], list[tuple[int, list[int]]]]


def _groups(rows: Rows, widest: int) -> list[Group]:
    """Prompts with their responses, each with its row; what would be too wide is dealt out evenly."""
    of_prompt: dict[tuple[int, ...], list[tuple[int, list[int]]]] = {}
    ids, real = rows.batch.input_ids.tolist(), rows.batch.attention_mask.sum(1).tolist()
    for row, length in enumerate(rows.mask.sum(1).int().tolist()):
        used = ids[row][len(ids[row]) - int(real[row]) :]
        of_prompt.setdefault(tuple(used[: len(used) - length]), []).append((row, used[len(used) - length :]))
    room = max(1, widest - max(len(prompt) for prompt in of_prompt))
    groups: list[Group] = []
    for prompt, members in of_prompt.items():
        total = sum(len(response) - 1 for _, response in members)
        parts = max(1, min(len(members), -(-total // room)))
        groups.extend((list(prompt), members[k::parts]) for k in range(parts))
    return groups


def unpacked(rows: Rows, inputs: dict[str, Tensor]) -> Layout:
    """The layout of rows that are read one a sequence.

    Args:
        rows: The rows.
        inputs: Keyword arguments of the forward that reads them.
    """
    count, tokens = rows.mask.shape
    index = torch.arange(count, device=rows.mask.device)[:, None].expand(count, tokens)
    return Layout(inputs, rows.keep, index, torch.arange(tokens, device=index.device).expand(count, tokens))
