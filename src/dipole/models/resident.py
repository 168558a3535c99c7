"""A model of transformers in memory, with its tokenizer."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from dipole.batching import Batch, even
from dipole.engaging.blocks import decoder_blocks
from dipole.engaging.hidden import caught_states, of_width
from dipole.models.chat import prompted, turn_end
from dipole.models.encoding import Encoder, chat_templates
from dipole.models.fingerprint import fingerprint
from dipole.models.probe import Probe
from dipole.models.thinking import answer, answer_text
from dipole.models.turns import Turns
from dipole.resident import Turns as Told
from dipole.types import UserError

_SOME_PROMPT = "I think that"


@dataclass(frozen=True, eq=False)
class TransformersResident:
    """A Hugging Face causal model, its tokenizer and where they came from; a `dipole.resident.Resident`.

    Attributes:
        model: The model, in eval mode, gradients off; nothing of ours ever changes its parameters.
        tokenizer: Its tokenizer.
        name: What the user asked for: a hub id, a folder, a GGUF file, or a name such as `tiny`.
        revision: Commit on the hub, where known.
        special_tokens_in_text: Whether a special token that a text spells is read as that token.
        plain: Whether prompts are text to continue although there is a chat template.
        fingerprint: Identifies the weights; see `dipole.models.fingerprint`.
        turns: Who may put something into the model now; see `dipole.models.turns`.
    """

    model: Any
    tokenizer: Any
    name: str
    revision: str | None = None
    special_tokens_in_text: bool = False
    plain: bool = False

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
    def rows(self) -> int:
        """How many token ids the model can read: rows of its input embeddings."""
        return int(self.model.get_input_embeddings().weight.shape[0])

    @cached_property
    def columns(self) -> int:
        """How many token ids the model gives logits of. Tokenizers may know fewer or more."""
        weight = getattr(self.model.get_output_embeddings(), "weight", None)
        return self.rows if weight is None else int(weight.shape[0])

    @cached_property
    def written(self) -> int:
        """How many of the model's token ids, from 0 on, are ids of its tokenizer too."""
        return min(len(self.tokenizer), self.columns)

    @cached_property
    def eos_ids(self) -> frozenset[int]:
        """Ids that end a text: the tokenizer's, the generation config's, and what ends a turn of a chat.

        Those that the model can't say are left out.
        """
        end = turn_end(self.encoder) if self.chat else None
        return self._ends | ({end} if end is not None and end < self.columns else set())

    @cached_property
    def _ends(self) -> frozenset[int]:
        extra = getattr(getattr(self.model, "generation_config", None), "eos_token_id", None)
        ids = [self.tokenizer.eos_token_id, *(extra if isinstance(extra, list | tuple) else [extra])]
        return frozenset(int(i) for i in ids if i is not None and 0 <= i < self.columns)

    @cached_property
    def bos_id(self) -> int | None:
        """The tokenizer's start token, if the model can read it."""
        start = self.tokenizer.bos_token_id
        return int(start) if start is not None and 0 <= start < self.rows else None

    @cached_property
    def pad_id(self) -> int:
        """Id that fills padding. It is always masked, so sharing it with another token does no harm."""
        pad = self.tokenizer.pad_token_id
        if pad is not None and 0 <= pad < self.rows:
            return int(pad)
        return min((i for i in self.eos_ids if i < self.rows), default=0)

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

    @cached_property
    def encoder(self) -> Encoder:
        """How texts become token ids."""
        ends = sorted(self._ends)
        known = min(self.rows, self.columns)  # texts are read, scored and written in the same tokens
        return Encoder(self.tokenizer, self.name, known, ends, self.special_tokens_in_text)

    @property
    def control_ids(self) -> frozenset[int]:
        """Ids that no text becomes."""
        return self.encoder.control

    @property
    def has_template(self) -> bool:
        """Whether the tokenizer comes with a chat template."""
        return bool(chat_templates(self.tokenizer))

    @property
    def chat(self) -> bool:
        """Whether prompts are read as turns of a chat."""
        return self.has_template and not self.plain

    def turn(self) -> AbstractContextManager[None]:
        """Have the model to oneself for the length of a `with` block; see `Turns.take`."""
        return self.turns.take(self.name)

    def prompt_ids(self, turns: Sequence[Told], prompt: str) -> list[int]:
        """Token ids of a prompt with what is put in front of it; see `dipole.models.chat`."""
        if not turns and not (self.chat and prompt):
            return self.encode(prompt)
        if self.chat:
            return prompted(self.encoder, turns, prompt).ids
        parts = [part for told, shots in turns for part in (told, *(p + c for p, c in shots))]
        return self.encode(" ".join([*(part.strip() for part in parts if part.strip()), prompt]).rstrip(" "))

    def carried(self, turns: Told) -> str:
        """A sentence where the chat template can't have the directive in the system's turn; else empty."""
        if not self.chat:
            return ""
        where = prompted(self.encoder, [turns], _SOME_PROMPT).carried
        return where and (
            f"The chat template of {self.name} does not write every turn that it is given, so the directive "
            f"stands {where}."
        )

    def encode(self, text: str) -> list[int]:
        """Token ids of a text that starts a sequence, with the start token where the tokenizer adds one.

        An empty text becomes the start (or end-of-text) token alone, so that the first token after it
        always has a prediction. An end-of-text token that the tokenizer adds is left out: a continuation must
        not follow an end.

        Raises:
            UserError: The text is empty and the tokenizer has no token to start from, or the model does not
                know one of the tokens.
        """
        ids = self.encoder.start(text)
        ids += [i for i in self.encoder.around[1] if i not in self.eos_ids]
        if not ids:
            start = min(self.eos_ids, default=None) if self.bos_id is None else self.bos_id
            if start is None:
                raise UserError(
                    f"The text is empty and the tokenizer of {self.name} has neither a start nor an "
                    "end-of-text token to begin from; give a text of at least one token."
                )
            ids = [start]
        return ids

    def continuation_ids(self, text: str) -> list[int]:
        """Token ids of a text that continues another, without special tokens.

        Ids are concatenated, never strings, so tokens cannot merge across the boundary (recipes 1(d)).
        """
        return self.encoder.behind(text)

    def decode(self, prefix: Sequence[int], ids: Sequence[int]) -> str:
        """Text of `ids` as they stand after `prefix`, special tokens removed.

        Decoding both and cutting keeps the space that some tokenizers drop at the start of a text.
        """
        decode = self.encoder.decode
        before, whole = decode(prefix), decode([*prefix, *ids])
        return whole[len(before) :] if whole.startswith(before) else decode(ids)

    def reply(self, prefix: Sequence[int], ids: Sequence[int]) -> str:
        """Text of what was written behind a prompt; in a chat without what the model thinks beforehand."""
        if not self.chat:
            return self.decode(prefix, ids)
        behind, thought = answer(self.encoder, prefix, ids)
        if thought:
            return self.decode([*prefix, *ids[: len(ids) - len(behind)]], behind).lstrip()
        return answer_text(self.decode(prefix, ids))

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

    def states(self, model: nn.Module, batch: Batch, layers: Sequence[int]) -> Tensor:
        """Residual stream of a right-padded batch after decoder blocks, `(batch, layers, time, width)`.

        Args:
            model: The model with what is engaged in it.
            batch: Token ids.
            layers: Indices of blocks; negative ones count from the end.

        Raises:
            UserError: There is no such layer, or it is not run on text alone.
        """
        blocks = decoder_blocks(model)
        absent = [i for i in layers if not -len(blocks) <= i < len(blocks)]
        if absent or not layers:
            raise UserError(
                f"{self.name} has {len(blocks)} layers (0 to {len(blocks) - 1}, or -1 for the "
                f"last), and {f'layer {absent[0]}' if absent else 'no layer at all'} was asked for."
            )
        caught: dict[int, Tensor] = {}
        with caught_states([blocks[i] for i in layers], caught):
            model(**self.inputs(batch, 1), use_cache=False)
        unread = [layers[k] for k in range(len(layers)) if k not in caught]
        if unread:
            raise UserError(
                f"Layer {unread[0]} of {self.name} is not run when it reads text alone (it "
                "may be for images), so it has no activations; choose other layers."
            )
        return torch.stack([of_width(caught[k], self.width) for k in range(len(layers))], dim=1)


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
