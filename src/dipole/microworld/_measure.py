"""What the gates ask of a model: likelihoods of continuations, and samples. All tensors stay on the CPU."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerFast

TEMPERATURE = 0.2
"""VELMA's divisor of the difference in mean log-likelihood (nats per token)."""


def _parts(items: Sequence[Any], size: int) -> Iterator[list[Any]]:
    rest = iter(items)
    while part := list(islice(rest, size)):
        yield part


@dataclass(frozen=True)
class Model:
    """A model with its tokenizer."""

    net: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast

    @classmethod
    def load(cls, folder: Path) -> Model:
        """The model in a folder."""
        net: PreTrainedModel = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True)
        net.train(False)
        tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        return cls(net, tokenizer)

    @torch.no_grad()
    def token_logprobs(self, pairs: Sequence[tuple[str, str]]) -> list[Tensor]:
        """Log-probability of each token of a continuation after its context, nats. One 1-D tensor a pair."""
        found: list[Tensor] = []
        for part in _parts(pairs, 64):
            contexts = [self.tokenizer(context)["input_ids"] for context, _ in part]
            ends = [self.tokenizer(end, add_special_tokens=False)["input_ids"] for _, end in part]
            rows = [torch.tensor(c + e) for c, e in zip(contexts, ends, strict=True)]
            ids = torch.nn.utils.rnn.pad_sequence(
                rows, batch_first=True
            )  # (batch, time); causal, so padding is inert
            logprobs = self.net(ids).logits[:, :-1].log_softmax(-1).gather(2, ids[:, 1:, None])[..., 0]
            spans = [(len(c) - 1, len(c) + len(e) - 1) for c, e in zip(contexts, ends, strict=True)]
            found += [logprobs[i, start:end] for i, (start, end) in enumerate(spans)]
        return found

    def log_odds(self, texts: Sequence[str], poles: Sequence[tuple[str, str]]) -> list[float]:
        """VELMA: log-odds that a text says the first pole rather than the second, nats."""
        pairs = [(t, " " + pole) for t, both in zip(texts, poles, strict=True) for pole in both]
        means = [logprobs.mean().item() for logprobs in self.token_logprobs(pairs)]
        return [(p - q) / TEMPERATURE for p, q in zip(means[::2], means[1::2], strict=True)]

    def bits_per_byte(self, texts: Sequence[str]) -> float:
        """Cost of the texts with their end, in bits per byte of UTF-8."""
        end = self.tokenizer.eos_token
        nats = -sum(logprobs.sum().item() for logprobs in self.token_logprobs([("", t + end) for t in texts]))
        return nats / math.log(2) / sum(len(t.encode()) for t in texts)

    @torch.no_grad()
    def complete(
        self, prompts: Sequence[str], tokens: int, *, greedy: bool = False
    ) -> list[tuple[str, bool, int]]:
        """Sample at temperature 1 from the whole distribution, or take the likeliest token each time.

        Returns (completion, whether it ended by itself, tokens with the end) of each prompt.
        """
        found: list[tuple[str, bool, int]] = []
        net, tokenizer = cast(Any, self.net), self.tokenizer
        tokenizer.padding_side = "left"
        choose = (
            {"do_sample": False}
            if greedy
            else {"do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0}
        )
        for part in _parts(prompts, 128):
            batch = tokenizer(part, return_tensors="pt", padding=True, return_token_type_ids=False)
            out = net.generate(**batch, max_new_tokens=tokens, **choose)[:, batch["input_ids"].shape[1] :]
            for row in out:
                ended = bool((row == tokenizer.eos_token_id).any())
                n = int((row == tokenizer.eos_token_id).int().argmax()) if ended else len(row)
                found.append((str(tokenizer.decode(row[:n], skip_special_tokens=False)), ended, n + ended))
        return found
