"""`LM`: a frozen value over one resident model, with the interventions that are applied to it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from dipole.batching import chunks, pad_batch, parts
from dipole.decoding.distribution import Decoding
from dipole.decoding.guides import Decoder, Row, Session
from dipole.decoding.sampling import draw_rows, forced_logits
from dipole.engaging.stack import IN_MODEL, Engageable, engaged
from dipole.resident import Resident
from dipole.types import MOST_COUNT, Sample, Surface, UserError, sample_seed

_MOST_PER_TOKEN = 256  # characters; the longest tokens of known vocabularies have half as many


@dataclass(frozen=True)
class Applied:
    """An intervention at a strength; 0 is the base, 1 is as fitted."""

    intervention: Engageable
    strength: float


@dataclass(frozen=True, eq=False)
class LM:
    """A language model as a value: nothing that is done with it changes it.

    Attributes:
        resident: The one model in memory, shared by every `LM` derived from it.
        applied: Interventions in the order in which they were applied.
    """

    resident: Resident
    applied: tuple[Applied, ...] = ()

    @property
    def base(self) -> LM:
        """The same model without interventions."""
        return LM(self.resident)

    def with_intervention(self, intervention: Any, strength: float) -> LM:
        """This LM with one more intervention; called by `Intervention.apply`, which checks that it fits."""
        return replace(self, applied=(*self.applied, Applied(intervention, strength)))

    @contextmanager
    def engaged(self, whole: bool = True) -> Iterator[Any]:
        """The Hugging Face model with the interventions in place for the length of a `with` block.

        Blocks of LMs that share one resident model may be nested: each sees its own interventions only,
        so a base LM that scores inside the block of a steered one is the base. An adapter that is being
        trained (put there by `inject`) is no such block, and a plain LM then is the model as it stands.
        One resident model serves one thread at a time: while the block is open, calls of other threads on
        any LM of the same resident wait for its end, so a block must not wait for such a thread.

        Args:
            whole: Refuse an LM that is more than what can be engaged in the model. `generate` and
                `response_logits` see to the rest themselves.

        Raises:
            UserError: The LM has interventions that are not in the model: on prompts, tokens, logits or the
                choice of continuations. Or the model could never become free; see `Turns.take`.
        """
        outside = [a.intervention.surface for a in self.applied if a.intervention.surface not in IN_MODEL]
        if outside and whole:
            raise UserError(
                f"This LM is steered on its {outside[0]}, so it can write but not be read as one model; "
                "use an LM with interventions on weights and activations only, such as the base."
            )
        self.resident.probe.require()
        parts = [(a.intervention, a.strength) for a in self.applied if a.strength != 0.0]
        inside = [part for part in parts if part[0].surface in IN_MODEL]
        with self.resident.turn(), engaged(self.resident.model, inside) as model, torch.no_grad():
            yield model

    def save(self, folder: Any) -> None:
        """Moved: `dipole.save(lm, folder)`."""
        raise UserError(f"LM.save has moved; call dipole.save(lm, {str(folder)!r}).")

    def _of(self, surface: Surface) -> list[tuple[Any, float]]:
        """Interventions of one surface that do something, with their strengths."""
        return [
            (a.intervention, a.strength)
            for a in self.applied
            if a.intervention.surface == surface and (a.strength != 0.0)
        ]

    @property
    def choosers(self) -> list[Any]:
        """Interventions that keep one of several continuations."""
        return [made for made, _ in self._of("decode")]

    def prompt_ids(self, prompt: str, told: str = "") -> list[int]:
        """Token ids that the model reads for a prompt, with what prompt interventions put around it.

        A model with a chat template reads a chat, unless it was loaded plain: the prompt is what the user
        says, directives are the system's turn, and the assistant speaks next.

        Args:
            prompt: The user's text. An empty one with nothing in front of it is no turn: it starts a text.
            told: One more directive, which stands behind those of the interventions.

        Raises:
            UserError: It is far longer than the context, or the chat template can't carry it.
        """
        self.require_short(prompt)
        # The one that was applied last stands first.
        parts = self._of("prompt")[::-1]
        turns = [said for made, strength in parts if any(said := made.turns(strength))]
        tail = [token for made, strength in parts for token in made.tail(strength)]
        if told and not self.resident.chat:
            prompt = f"{told} {prompt}" if prompt else told
        elif told:
            turns.append((told, ()))
        return [*self.resident.prompt_ids(turns, prompt), *tail]

    def _encoded(self, prompts: Sequence[str]) -> list[list[int]]:
        """Token ids of each prompt; those that come more than once are made once."""
        known = {prompt: self.prompt_ids(prompt) for prompt in dict.fromkeys(prompts)}
        return [known[prompt] for prompt in prompts]

    def _decoder(self, model: Any, prompts: Sequence[str], ids: Sequence[Sequence[int]]) -> Decoder:
        rows = [Row(text, tuple(row)) for text, row in zip(prompts, ids, strict=True)]
        session = Session(self.resident, model, rows, self.prompt_ids)
        steering = [*self._of("tokens"), *self._of("logits")]
        return Decoder(session, [made.guide(session, strength) for made, strength in steering])

    def generate(
        self,
        prompts: str | Sequence[str],
        n: int = 1,
        max_new_tokens: int = 32,
        seed: int = 0,
        decoding: Decoding = Decoding(),
        batch_size: int = 64,
        first: int = 0,
    ) -> list[Sample]:
        """Sample continuations; the samples of one prompt stand together.

        The k-th sample of the i-th prompt has a seed made from (`seed`, i, k), so it is the same in any
        batch, and two LMs given the same seed draw from common random numbers: where their
        distributions agree, so do their samples.

        Args:
            prompts: One prompt or several; an empty one starts a text.
            n: Samples a prompt.
            max_new_tokens: Token budget of each continuation.
            seed: Seed of the whole call.
            decoding: Temperature and truncation; the default is pure ancestral sampling.
            batch_size: Rows a forward.
            first: Number of the first prompt, where the prompts come in several calls and the samples are to
                be those of one.

        Raises:
            UserError: A prompt leaves no room for `max_new_tokens` in the context, or a count is below 1.
        """
        texts = [prompts] if isinstance(prompts, str) else list(prompts)
        _require_positive(n=n, max_new_tokens=max_new_tokens, batch_size=batch_size)
        if n * len(texts) > MOST_COUNT:
            raise UserError(
                f"{n * len(texts):,} completions were asked for at once, and {MOST_COUNT:,} are the most; "
                "ask for fewer, with several seeds."
            )
        rows = [(i, k) for i in range(len(texts)) for k in range(n)]
        seeds = [sample_seed(seed, first + i, k) for i, k in rows]
        return self.sample([texts[i] for i, _ in rows], seeds, max_new_tokens, decoding, batch_size)

    def sample(
        self,
        prompts: Sequence[str],
        seeds: Sequence[int],
        max_new_tokens: int = 32,
        decoding: Decoding = Decoding(),
        batch_size: int = 64,
    ) -> list[Sample]:
        """One continuation of each prompt from the seed beside it; `generate` with the seeds spelled out."""
        pickers = self._of("decode")
        if pickers:
            picker, strength = pickers[-1]
            others = tuple(a for a in self.applied if a.intervention is not picker)
            drawn: list[Sample] = picker.pick(
                replace(self, applied=others), prompts, seeds, max_new_tokens, decoding, batch_size, strength
            )
            return drawn
        encoded = self._encoded(prompts)
        for text, ids in zip(prompts, encoded, strict=True):
            self._require_room(text, len(ids), max_new_tokens)
        samples: list[Sample] = []
        eos = self.resident.eos_ids
        with self.engaged(whole=False) as model:
            for part in chunks(len(encoded), batch_size):
                decoder = self._decoder(model, prompts[part], encoded[part])
                rows = draw_rows(decoder, decoding, seeds[part], max_new_tokens, eos)
                for text, ids, seed, row in zip(prompts[part], encoded[part], seeds[part], rows, strict=True):
                    samples.append(self._to_sample(text, ids, row.tokens, row.logprobs, seed))
        return samples

    def response_logits(
        self, prompts: Sequence[str], responses: Sequence[Sequence[int]], batch_size: int = 64
    ) -> list[Tensor]:
        """Logits of this LM that predict each token of given responses, teacher forced.

        With every intervention but the choice among continuations, which has no next-token distribution.
        One pass a batch where the interventions are in the model or the prompt; as many as the longest
        response has tokens where they change logits step by step.

        Args:
            prompts: The user's prompts.
            responses: Token ids that follow; a row may be empty.
            batch_size: Rows a forward.

        Returns:
            `(len(response), vocab)` a row, on the model's device; -inf at tokens that are forbidden.

        Raises:
            UserError: A row is longer than the context.
        """
        encoded = self._encoded(prompts)
        for ids, response in zip(encoded, responses, strict=True):
            self._require_fit(len(ids) + len(response))
        result: list[Tensor] = []
        with self.engaged(whole=False) as model:
            for part in chunks(len(encoded), batch_size):
                if self._of("tokens") or self._of("logits"):
                    decoder = self._decoder(model, prompts[part], encoded[part])
                    result.extend(forced_logits(decoder, responses[part]))
                else:
                    result.extend(self._read_logits(model, encoded[part], responses[part]))
        return result

    def _read_logits(
        self, model: Any, prefixes: Sequence[Sequence[int]], responses: Sequence[Sequence[int]]
    ) -> Iterator[Tensor]:
        rows = list(zip(prefixes, responses, strict=True))
        batch = pad_batch([[*p, *r] for p, r in rows], self.resident.pad_id, "left", self.resident.device)
        keep = max(len(r) for _, r in rows) + 1
        # The prediction of token t stands at column t - 1.
        logits = self.resident.last_logits(model, batch, keep)[:, :-1]
        for row, (_, response) in zip(logits, rows, strict=True):
            yield row[len(row) - len(response) :]

    def _to_sample(
        self, prompt: str, prompt_ids: Sequence[int], tokens: list[int], logprobs: list[float], seed: int
    ) -> Sample:
        ended = bool(tokens) and tokens[-1] in self.resident.eos_ids
        text = self.resident.reply(prompt_ids, tokens[:-1] if ended else tokens)
        return Sample(
            prompt,
            text,
            tuple(prompt_ids),
            tuple(tokens),
            tuple(logprobs),
            seed,
            "eos" if ended else "length",
            "\n" if self.resident.chat and prompt else "",
        )

    def logprobs(
        self,
        prefixes: Sequence[Sequence[int]],
        continuations: Sequence[Sequence[int]],
        batch_size: int = 32,
    ) -> list[Tensor]:
        """Log-probability in nats of each continuation token given its prefix, teacher forced.

        Args:
            prefixes: Token ids, at least one a row.
            continuations: Token ids; a row may be empty.
            batch_size: Rows a forward.

        Returns:
            One float32 tensor `(len(continuation),)` a row, on the CPU.

        Raises:
            UserError: A row is longer than the context.
            ValueError: A prefix is empty, so its first token has no prediction.
        """
        for prefix, continuation in zip(prefixes, continuations, strict=True):
            if not prefix:
                raise ValueError("Each prefix needs at least one token; begin texts with Resident.encode.")
            self._require_fit(len(prefix) + len(continuation))
        result: list[Tensor] = []
        with self.engaged() as model:
            for part in chunks(len(prefixes), batch_size):
                rows = list(zip(prefixes[part], continuations[part], strict=True))
                batch = pad_batch(
                    [[*p, *c] for p, c in rows], self.resident.pad_id, "left", self.resident.device
                )
                keep = max(len(c) for _, c in rows) + 1
                keep = min(keep, batch.input_ids.shape[1])
                logprobs = self.resident.last_logits(model, batch, keep).float().log_softmax(-1)
                targets = batch.input_ids[:, -keep:]
                picked = logprobs[:, :-1].gather(-1, targets[:, 1:, None]).squeeze(-1).cpu()
                result.extend(picked[r, keep - 1 - len(c) :].clone() for r, (_, c) in enumerate(rows))
        return result

    def activations(self, texts: Sequence[str], layers: Sequence[int], batch_size: int = 32) -> list[Tensor]:
        """Residual stream after the named decoder blocks.

        Args:
            texts: Texts to read.
            layers: Indices of blocks; negative ones count from the end.
            batch_size: Rows a forward.

        Returns:
            For each text a float32 tensor `(len(layers), tokens, width)` on the CPU.

        Raises:
            UserError: There is no such layer, or a text is longer than the context.
        """
        for text in texts:
            self.require_short(text)
        return self.token_activations([self.resident.encode(text) for text in texts], layers, batch_size)

    def token_activations(
        self, encoded: Sequence[Sequence[int]], layers: Sequence[int], batch_size: int = 32
    ) -> list[Tensor]:
        """The same as `activations` for texts that are token ids already."""
        for ids in encoded:
            self._require_fit(len(ids))
        self.resident.probe.require()  # before it is asked about padding
        lengths = [len(ids) for ids in encoded]
        ragged = len(set(lengths)) < 2 or self.resident.probe.right
        result: dict[int, Tensor] = {}
        with self.engaged(whole=False) as model:
            for part in parts(lengths, batch_size, ragged):
                rows = [encoded[r] for r in part]
                batch = pad_batch(rows, self.resident.pad_id, "right", self.resident.device)
                states = self.resident.states(model, batch, layers).float().cpu()
                result.update((r, states[k, :, : lengths[r]].clone()) for k, r in enumerate(part))
        return [result[r] for r in range(len(lengths))]

    def require_room(self, prompt: str, max_new_tokens: int) -> None:
        """Check that a prompt leaves room in the context.

        Raises:
            UserError: It does not.
        """
        self._require_room(prompt, len(self.prompt_ids(prompt)), max_new_tokens)

    def require_short(self, text: str) -> None:
        """Refuse at once what can't fit: a tokenizer takes seconds for millions of characters."""
        limit = self.resident.context_length
        if limit is not None and len(text) > limit * _MOST_PER_TOKEN:
            raise UserError(
                f"The text {_shorten(text)!r} is {len(text):,} characters long, which is more than the "
                f"context of {self.resident.name} ({limit} tokens) holds; shorten it."
            )

    def _require_fit(self, used: int) -> None:
        limit = self.resident.context_length
        if limit is not None and used > limit:
            raise UserError(
                f"A text of {used} tokens is longer than the context of {self.resident.name} ({limit} "
                "tokens); shorten it."
            )

    def _require_room(self, prompt: str, used: int, wanted: int) -> None:
        limit = self.resident.context_length
        if limit is not None and used + wanted > limit:
            raise UserError(
                f"The prompt {_shorten(prompt)!r} is {used} tokens long; with {wanted} new tokens that is "
                f"more than the context of {self.resident.name} ({limit} tokens). Shorten the prompt or ask "
                "for fewer new tokens."
            )
        if wanted > MOST_COUNT:  # a model may have no limit
            raise UserError(f"{wanted:,} new tokens were asked for, and {MOST_COUNT:,} are the most.")


def _require_positive(**counts: int) -> None:
    for name, value in counts.items():
        if value < 1:
            raise UserError(f"{name} must be at least 1, and is {value}.")


def _shorten(text: str, width: int = 60) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"
