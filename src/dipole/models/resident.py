"""One model in memory with its tokenizer: the only place where weights live."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from dipole.models.batching import Batch, even
from dipole.models.fingerprint import fingerprint
from dipole.models.probe import Probe
from dipole.models.turns import Turns
from dipole.types import UserError

_ANCHORS = (".", "a", "\n", "!")


@dataclass(frozen=True, eq=False)
class Resident:
    """A Hugging Face causal model, its tokenizer and where they came from.

    Attributes:
        model: The model, in eval mode, gradients off; nothing of ours ever changes its parameters.
        tokenizer: Its tokenizer.
        name: What the user asked for: a hub id, a folder, or the name of a bundled LM.
        revision: Commit on the hub, where known.
        fingerprint: Identifies the weights; see `dipole.models.fingerprint`.
        turns: Who may put something into the model now; see `dipole.models.turns`.
    """

    model: Any
    tokenizer: Any
    name: str
    revision: str | None = None

    fingerprint: str = field(init=False)
    turns: Turns = field(init=False, default_factory=Turns)

    def __post_init__(self) -> None:
        """Take the fingerprint now: later an adapter may be in place."""
        object.__setattr__(self, "fingerprint", fingerprint(self.model))

    @property
    def device(self) -> torch.device:
        """Where the input embeddings live: inputs go there, also when layers are spread over devices."""
        weight: Tensor = self.model.get_input_embeddings().weight
        return weight.device

    @cached_property
    def context_length(self) -> int | None:
        """How many tokens fit; None where the architecture has no bound (ALiBi, recurrent)."""
        config = self.model.config.get_text_config()
        if _uses_alibi(self.model, config):
            return None  # some such configs still name the length that the model was trained at
        for name in ("max_position_embeddings", "n_positions", "seq_length", "max_seq_len"):
            value = getattr(config, name, None)
            if isinstance(value, int) and value > 0:
                return value
        return None

    @cached_property
    def eos_ids(self) -> frozenset[int]:
        """Ids that end a text: the tokenizer's and those that the generation config names."""
        ids = {self.tokenizer.eos_token_id}
        extra = getattr(getattr(self.model, "generation_config", None), "eos_token_id", None)
        ids.update(extra if isinstance(extra, list | tuple) else [extra])
        return frozenset(i for i in ids if i is not None)

    @cached_property
    def pad_id(self) -> int:
        """Id that fills padding. It is always masked, so sharing it with another token does no harm."""
        if self.tokenizer.pad_token_id is not None:
            return int(self.tokenizer.pad_token_id)
        return min(self.eos_ids, default=0)

    @cached_property
    def probe(self) -> Probe:
        """What the model can be trusted with: padding, caches, a second call."""
        return Probe(self)

    @cached_property
    def forward_parameters(self) -> frozenset[str]:
        """Names that the model's forward takes explicitly."""
        return frozenset(inspect.signature(self.model.forward).parameters)

    @property
    def takes_positions(self) -> bool:
        """Whether the model is told the position of each token, counted from 0 over the real tokens."""
        return "position_ids" in self.forward_parameters and self.probe.positions

    @cached_property
    def width(self) -> int:
        """Width of the residual stream."""
        stated = getattr(self.model.config.get_text_config(), "hidden_size", None)
        return int(stated or self.model.get_output_embeddings().weight.shape[-1])

    @cached_property
    def cache_name(self) -> str | None:
        """What the model's forward calls its cache; None where it takes none."""
        named = (name for name in ("past_key_values", "cache_params") if name in self.forward_parameters)
        return next(named, None)

    def encode(self, text: str) -> list[int]:
        """Token ids of a text that starts a sequence, with the start token where the tokenizer adds one.

        An empty text becomes the start (or end-of-text) token alone, so that the first token after it
        always has a prediction.

        Raises:
            UserError: The text is empty and the tokenizer has no token to start from.
        """
        ids = self._tokenize(text, add_special_tokens=True)
        while len(ids) > 1 and ids[-1] in self.eos_ids and ids[-1] != self.tokenizer.bos_token_id:
            ids.pop()  # some tokenizers close the text, and a continuation must not follow an end
        if not ids:
            start = self.tokenizer.bos_token_id
            start = min(self.eos_ids, default=None) if start is None else start
            if start is None:
                raise UserError(
                    f"The text is empty and the tokenizer of {self.name} has neither a start nor an "
                    "end-of-text token to begin from; give a text of at least one token."
                )
            ids = [int(start)]
        return ids

    def continuation_ids(self, text: str) -> list[int]:
        """Token ids of a text that continues another, without special tokens.

        Ids are concatenated, never strings, so tokens cannot merge across the boundary (recipes 1(d)).
        The text is tokenised behind an anchor, because sentencepiece tokenizers would otherwise give
        it a space of their own.
        """
        if not text:
            return []
        for anchor in _ANCHORS:
            prefix = self._tokenize(anchor, add_special_tokens=False)
            joint = self._tokenize(anchor + text, add_special_tokens=False)
            if joint[: len(prefix)] == prefix and len(joint) > len(prefix):
                return joint[len(prefix) :]
        return self._tokenize(text, add_special_tokens=False)

    def _tokenize(self, text: str, add_special_tokens: bool) -> list[int]:
        # Not verbose: whoever calls knows the context length, and a warning on standard error helps nobody.
        return list(self.tokenizer(text, add_special_tokens=add_special_tokens, verbose=False)["input_ids"])

    def decode(self, prefix: Sequence[int], ids: Sequence[int]) -> str:
        """Text of `ids` as they stand after `prefix`, special tokens removed.

        Decoding both and cutting keeps the space that some tokenizers drop at the start of a text.
        """
        before = self._plain(prefix)
        whole = self._plain([*prefix, *ids])
        return whole[len(before) :] if whole.startswith(before) else self._plain(ids)

    def _plain(self, ids: Sequence[int]) -> str:
        return str(
            self.tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
        )

    def inputs(self, batch: Batch, logits_to_keep: int = 0) -> dict[str, Any]:
        """Keyword arguments of a forward, leaving out what the architecture does not take."""
        kwargs: dict[str, Any] = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}
        if self.takes_positions:
            kwargs["position_ids"] = batch.position_ids
        if logits_to_keep and "logits_to_keep" in self.forward_parameters:
            # An index copies the hidden states that are kept. A number makes a view with gaps, over which the
            # output embedding runs as one slow product a row.
            width = batch.input_ids.shape[1]
            first = max(0, width - logits_to_keep)
            kwargs["logits_to_keep"] = torch.arange(first, width, device=batch.input_ids.device)
        return kwargs

    def last_logits(self, model: nn.Module, batch: Batch, keep: int) -> Tensor:
        """Logits at the last `keep` columns of a left-padded batch, `(batch, keep, vocab)`.

        The others are not computed. Rows are read in batches of one length where padding confuses the model;
        what would stand on padding then is 0.
        """
        keep = min(keep, batch.input_ids.shape[1])
        if bool(batch.attention_mask.all()) or self.probe.left:
            logits: Tensor = model(**self.inputs(batch, keep), use_cache=False).logits
            return logits[:, -keep:]
        return self.by_length(batch, lambda some: self.last_logits(model, some, keep), keep)

    def by_length(self, batch: Batch, read: Callable[[Batch], Tensor], keep: int) -> Tensor:
        """Read the rows of a left-padded batch by their length, without padding.

        Args:
            batch: The rows.
            read: From rows without padding to `(rows, columns, …)`, of which the last `keep` count.
            keep: Columns of the result.

        Returns:
            `(batch, keep, …)`, 0 on padding.
        """
        found = [(index, read(some)[:, -keep:]) for index, some in even(batch)]
        filled = [pad(t, (*(0, 0) * (t.ndim - 2), keep - t.shape[1], 0)) for _, t in found]
        order = torch.cat([index for index, _ in found]).argsort()
        return torch.cat(filled)[order.to(filled[0].device)]


def _uses_alibi(model: nn.Module, config: Any) -> bool:
    """Whether positions are linear biases of the attention, which have no bound (BLOOM, MPT, Falcon-RW)."""
    if getattr(config, "alibi", False):
        return True
    attention = getattr(config, "attn_config", None)
    if attention is not None and not isinstance(attention, dict):
        attention = vars(attention)
    if attention and attention.get("alibi"):
        return True
    return any(hasattr(module, "build_alibi_tensor") for module in (model, *model.children()))
