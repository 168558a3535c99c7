"""Ways to read the log-probabilities of continuations off a causal language model.

Each route is a function `(resident, model, prefixes, tree, starts) -> list[Reading]`, one reading a
prefix. `starts[i]` is the index of the first prefix token whose log-probability is wanted as well; the
length of the prefix wants none.

packed    one forward a batch; the row is text and tree, with a 4-D attention mask and explicit positions.
cached    one forward for the texts and one, on their repeated cache, for the continuations.
plain     one row for each text and continuation, padded, with an ordinary 2-D mask.
unpadded  the same without padding, one length at a time: right for any causal model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dipole.batching import pad_batch
from dipole.recognizers._tree import TEXT, Tree, packed_mask
from dipole.resident import Resident

_CHUNK = 1 << 23  # logits normalised at a time: bounds the float32 copy of a half-precision model's logits


class Reading(NamedTuple):
    """What was read after one prefix.

    Attributes:
        continuations: Log-probability in nats of each token of each continuation, float32 on the CPU.
        text: Log-probability of each prefix token from the wanted one on, float32 on the CPU.
    """

    continuations: list[Tensor]
    text: Tensor


Route = Callable[[Resident, Any, Sequence[Sequence[int]], Tree, Sequence[int]], list[Reading]]


def picked_logprobs(logits: Tensor, columns: Tensor, tokens: Tensor) -> Tensor:
    """Log-probabilities of chosen tokens at chosen columns, `(batch, picks)` float32.

    Args:
        logits: `(batch, columns, vocab)`.
        columns: `(batch, picks)` or `(1, picks)` column of each pick.
        tokens: `(batch, picks)` or `(1, picks)` token of each pick.
    """
    batch, width, vocab = logits.shape
    flat, step = logits.reshape(-1, vocab), max(1, _CHUNK // vocab)
    normaliser = torch.cat([part.float().logsumexp(-1) for part in torch.split(flat, step)]).view(
        batch, width
    )
    rows = torch.arange(batch, device=logits.device)[:, None]
    return logits[rows, columns, tokens].float() - normaliser[rows, columns]


def packed(
    resident: Resident, model: Any, prefixes: Sequence[Sequence[int]], tree: Tree, starts: Sequence[int]
) -> list[Reading]:
    """One forward: `[padding | text | tree]`, in which a branch does not see its siblings."""
    device, lengths = resident.device, [len(p) for p in prefixes]
    text = pad_batch(prefixes, resident.pad_id, "left")
    nodes = torch.tensor(tree.ids, dtype=torch.long).expand(len(prefixes), -1)
    depths = torch.tensor(tree.depths, dtype=torch.long)
    own = wanted(prefixes, starts)
    keep = own + 1 + len(tree.ids)
    mask = packed_mask(lengths, tree, resident.model.dtype).to(device)
    kwargs: dict[str, Any] = {
        "input_ids": torch.cat([text.input_ids, nodes], 1).to(device),
        "attention_mask": mask.expand(len(prefixes), -1, -1, -1),
        "position_ids": torch.cat([text.position_ids, torch.tensor(lengths)[:, None] + depths], 1).to(device),
    }
    if "logits_to_keep" in resident.forward_parameters:
        # As indices, not as a count: a slice of the hidden states is not contiguous, so torch multiplies by
        # the output embedding one row at a time, which was half of the whole forward's time on a CPU.
        width = kwargs["input_ids"].shape[1]
        kwargs["logits_to_keep"] = torch.arange(width - keep, width, device=device)
    logits = model(**kwargs, use_cache=False).logits[:, -keep:]
    columns = [own + 1 + node for path in tree.sources for node in path]  # TEXT is -1: the text's last column
    tokens = [t for target in tree.targets for t in target]
    branches = picked_logprobs(logits, _row(columns, device), _row(tokens, device)).cpu()
    texts = _text_logprobs(logits, text.input_ids.to(device), own, prefixes, starts)
    return [Reading(_split(row, tree), own_row) for row, own_row in zip(branches, texts, strict=True)]


def cached(
    resident: Resident, model: Any, prefixes: Sequence[Sequence[int]], tree: Tree, starts: Sequence[int]
) -> list[Reading]:
    """A forward over the texts, then one over the continuations on the texts' cache, repeated for each."""
    device, k = resident.device, len(tree.targets)
    text = pad_batch(prefixes, resident.pad_id, "left", device)
    own = wanted(prefixes, starts)
    output = model(**resident.inputs(text, own + 1), use_cache=True)
    logits = output.logits[:, -(own + 1) :]
    texts = _text_logprobs(logits, text.input_ids, own, prefixes, starts)
    firsts = [t[0] for t in tree.targets]
    first = picked_logprobs(logits, _row([own] * k, device), _row(firsts, device)).cpu()  # (batch, k)
    rest = [t[:-1] for t in tree.targets]
    longest = max(len(r) for r in rest)
    later = torch.zeros(len(prefixes), k, 0)
    if longest:
        cache = output.past_key_values
        cache.batch_repeat_interleave(k)
        tails = pad_batch([r or [resident.pad_id] for r in rest], resident.pad_id, "right", device)
        lengths = text.attention_mask.sum(-1).repeat_interleave(k)[:, None]
        mask = torch.cat(
            [text.attention_mask.repeat_interleave(k, 0), tails.attention_mask.repeat(len(prefixes), 1)], 1
        )
        steps = torch.arange(longest, device=device)
        kwargs = {"input_ids": tails.input_ids.repeat(len(prefixes), 1), "attention_mask": mask}
        if resident.takes_positions:
            kwargs["position_ids"] = lengths + steps
        logits = model(**kwargs, use_cache=True, past_key_values=cache).logits
        padded = [[*t[1:], *[0] * (longest + 1 - len(t))] for t in tree.targets]
        tokens = torch.tensor(padded, device=device).repeat(len(prefixes), 1)
        later = picked_logprobs(logits, steps[None], tokens).cpu().view(len(prefixes), k, longest)
    joined = torch.cat([first[:, :, None], later], 2)  # (batch, k, longest + 1)
    return [
        Reading([joined[i, j, : len(t)] for j, t in enumerate(tree.targets)], texts[i])
        for i in range(len(prefixes))
    ]


def plain(
    resident: Resident, model: Any, prefixes: Sequence[Sequence[int]], tree: Tree, starts: Sequence[int]
) -> list[Reading]:
    """One row for each text and continuation, padded on the left."""
    device = resident.device
    rows = [[*p, *t[:-1]] for p in prefixes for t in tree.targets]
    batch = pad_batch(rows, resident.pad_id, "left", device)
    own = wanted(prefixes, starts)
    keep = min(own + tree.longest, batch.input_ids.shape[1])
    logits = resident.last_logits(model, batch, keep)
    readings = []
    for i, prefix in enumerate(prefixes):
        branches, text = [], torch.zeros(0)
        for j, target in enumerate(tree.targets):
            row = logits[i * len(tree.targets) + j][None]
            columns = [keep - len(target) + c for c in range(len(target))]
            branches.append(picked_logprobs(row, _row(columns, device), _row(target, device))[0].cpu())
            if j == 0 and starts[i] < len(prefix):
                inside = list(prefix[starts[i] :])
                before = [keep - len(target) - len(inside) + c for c in range(len(inside))]
                text = picked_logprobs(row, _row(before, device), _row(inside, device))[0].cpu()
        readings.append(Reading(branches, text))
    return readings


def unpadded(
    resident: Resident, model: Any, prefixes: Sequence[Sequence[int]], tree: Tree, starts: Sequence[int]
) -> list[Reading]:
    """Rows of one length at a time and one continuation at a time: no padding anywhere."""
    result: dict[int, Reading] = {}
    for length in sorted({len(p) for p in prefixes}):
        group = [i for i, p in enumerate(prefixes) if len(p) == length]
        own = [prefixes[i] for i in group]
        parts = []
        for j, target in enumerate(tree.targets):
            alone = Tree(tree.ids, tree.parents, tree.depths, (tree.sources[j],), (target,))
            wanted_starts = [starts[i] if j == 0 else length for i in group]
            parts.append(plain(resident, model, own, alone, wanted_starts))
        for position, i in enumerate(group):
            result[i] = Reading([p[position].continuations[0] for p in parts], parts[0][position].text)
    return [result[i] for i in range(len(prefixes))]


def wanted(prefixes: Sequence[Sequence[int]], starts: Sequence[int]) -> int:
    """The most text tokens whose log-probability is wanted in a row."""
    return max(len(p) - s for p, s in zip(prefixes, starts, strict=True))


def _text_logprobs(
    logits: Tensor, input_ids: Tensor, own: int, prefixes: Sequence[Sequence[int]], starts: Sequence[int]
) -> list[Tensor]:
    """Log-probabilities of each text's last tokens, from logits whose column `own` is the text's last."""
    if own == 0:
        return [torch.zeros(0)] * len(prefixes)
    tokens = input_ids[:, input_ids.shape[1] - own :]
    columns = torch.arange(own, device=logits.device)[None]
    rows = picked_logprobs(logits[:, :own], columns, tokens).cpu()
    counts = [len(p) - s for p, s in zip(prefixes, starts, strict=True)]
    return [row[own - count :].clone() for row, count in zip(rows, counts, strict=True)]


def _row(values: Sequence[int], device: torch.device) -> Tensor:
    return torch.tensor([list(values)], dtype=torch.long, device=device)


def _split(row: Tensor, tree: Tree) -> list[Tensor]:
    return list(torch.split(row, [len(t) for t in tree.targets]))


assert TEXT == -1  # `packed` turns a node into a column by adding to it
