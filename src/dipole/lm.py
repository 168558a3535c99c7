"""`LM`: a frozen value over one resident model, with the interventions that are applied to it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from dipole.interventions.weights import Adapter, engaged_adapters
from dipole.models.batching import chunks, pad_batch
from dipole.models.blocks import decoder_blocks
from dipole.models.resident import Resident
from dipole.sampling import Decoding, RecordingSampler
from dipole.types import Intervention, Sample, UserError


@dataclass(frozen=True)
class Applied:
    """An intervention at a strength; 0 is the base, 1 is as fitted."""

    intervention: Intervention
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

    def with_intervention(self, intervention: Intervention, strength: float) -> LM:
        """This LM with one more intervention; called by `Intervention.apply`, which checks that it fits."""
        return replace(self, applied=(*self.applied, Applied(intervention, strength)))

    @contextmanager
    def engaged(self) -> Iterator[Any]:
        """The Hugging Face model with the interventions in place for the length of a `with` block.

        Blocks of LMs that share one resident model may be nested: each sees its own interventions only,
        so a base LM that scores inside the block of a steered one is the base. An adapter that is being
        trained (put there by `inject`) is no such block, and a plain LM then is the model as it stands.
        One resident model serves one thread at a time.
        """
        adapters = [(a.intervention, a.strength) for a in self.applied if isinstance(a.intervention, Adapter)]
        with engaged_adapters(self.resident.model, adapters) as model, torch.no_grad():
            yield model

    def generate(
        self,
        prompts: str | Sequence[str],
        n: int = 1,
        max_new_tokens: int = 32,
        seed: int = 0,
        decoding: Decoding = Decoding(),
        batch_size: int = 64,
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

        Raises:
            UserError: A prompt leaves no room for `max_new_tokens` in the context, or a count is below 1.
        """
        texts = [prompts] if isinstance(prompts, str) else list(prompts)
        _require_positive(n=n, max_new_tokens=max_new_tokens, batch_size=batch_size)
        rows = [(i, k) for i in range(len(texts)) for k in range(n)]
        seeds = [sample_seed(seed, i, k) for i, k in rows]
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
        encoded = [self.resident.encode(text) for text in prompts]
        for text, ids in zip(prompts, encoded, strict=True):
            self._require_room(text, len(ids), max_new_tokens)
        samples: list[Sample] = []
        with self.engaged() as model:
            for part in chunks(len(encoded), batch_size):
                drawn = self._sample(model, encoded[part], seeds[part], max_new_tokens, decoding)
                for text, ids, row_seed, (tokens, logprobs) in zip(
                    prompts[part], encoded[part], seeds[part], drawn, strict=True
                ):
                    samples.append(self._to_sample(text, ids, tokens, logprobs, row_seed))
        return samples

    def _sample(
        self,
        model: Any,
        ids: Sequence[Sequence[int]],
        seeds: Sequence[int],
        max_new_tokens: int,
        decoding: Decoding,
    ) -> list[tuple[list[int], list[float]]]:
        batch = pad_batch(ids, self.resident.pad_id, "left", self.resident.device)
        eos = sorted(self.resident.eos_ids)
        sampler = RecordingSampler(decoding, seeds, max_new_tokens, batch.input_ids.shape[1])
        with _plain_generation(model, max_new_tokens, eos, self.resident.pad_id) as config:
            output = model.generate(
                input_ids=batch.input_ids,
                attention_mask=batch.attention_mask,
                generation_config=config,
                logits_processor=[sampler],
            )
        tokens = output[:, batch.input_ids.shape[1] :].tolist()
        logprobs = sampler.logprobs().tolist()
        drawn = []
        for row_tokens, row_logprobs in zip(tokens, logprobs, strict=True):
            length = next((t + 1 for t, token in enumerate(row_tokens) if token in eos), len(row_tokens))
            drawn.append((row_tokens[:length], row_logprobs[:length]))
        return drawn

    def _to_sample(
        self, prompt: str, prompt_ids: Sequence[int], tokens: list[int], logprobs: list[float], seed: int
    ) -> Sample:
        ended = bool(tokens) and tokens[-1] in self.resident.eos_ids
        text = self.resident.decode(prompt_ids, tokens[:-1] if ended else tokens)
        return Sample(
            prompt,
            text,
            tuple(prompt_ids),
            tuple(tokens),
            tuple(logprobs),
            seed,
            "eos" if ended else "length",
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
        blocks = decoder_blocks(self.resident.model)
        absent = [i for i in layers if not -len(blocks) <= i < len(blocks)]
        if absent or not layers:
            raise UserError(
                f"{self.resident.name} has {len(blocks)} layers (0 to {len(blocks) - 1}, or -1 for the "
                f"last), and {f'layer {absent[0]}' if absent else 'no layer at all'} was asked for."
            )
        encoded = [self.resident.encode(text) for text in texts]
        for ids in encoded:
            self._require_fit(len(ids))
        result: list[Tensor] = []
        with self.engaged() as model:
            for part in chunks(len(texts), batch_size):
                batch = pad_batch(encoded[part], self.resident.pad_id, "right", self.resident.device)
                caught: dict[int, Tensor] = {}
                with _caught_outputs([blocks[i] for i in layers], caught):
                    model(**self.resident.inputs(batch, 1), use_cache=False)
                stacked = torch.stack([caught[k].float().cpu() for k in range(len(layers))], dim=1)
                result.extend(stacked[r, :, : len(ids)].clone() for r, ids in enumerate(encoded[part]))
        return result

    def require_room(self, prompt: str, max_new_tokens: int) -> None:
        """Check that a prompt leaves room in the context.

        Raises:
            UserError: It does not.
        """
        self._require_room(prompt, len(self.resident.encode(prompt)), max_new_tokens)

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


def sample_seed(seed: int, prompt_index: int, sample_index: int) -> int:
    """A 63-bit seed of one sample (splitmix64 over the three numbers)."""
    state = seed & 0xFFFFFFFFFFFFFFFF
    for part in (prompt_index, sample_index):
        state = (state + 0x9E3779B97F4A7C15 * (part + 1)) & 0xFFFFFFFFFFFFFFFF
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
        state ^= state >> 31
    return state >> 1


@contextmanager
def _caught_outputs(blocks: Sequence[Any], caught: dict[int, Tensor]) -> Iterator[None]:
    def hook(index: int) -> Any:
        def keep(_module: Any, _args: Any, output: Any) -> None:
            caught[index] = output[0] if isinstance(output, tuple) else output

        return keep

    handles = [block.register_forward_hook(hook(k)) for k, block in enumerate(blocks)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _plain_generation(model: Any, max_new_tokens: int, eos: list[int], pad: int) -> Iterator[Any]:
    """A generation config with nothing in it but what we ask for.

    `generate` fills what a config leaves open from the model's own (a repetition penalty, suppressed
    tokens, a minimum length), which would sample from another distribution than the model's. So the
    model's own is set aside for the length of the call.
    """
    import transformers

    GenerationConfig: Any = transformers.GenerationConfig  # its constructor has no types
    own = model.generation_config
    model.generation_config = GenerationConfig()
    try:
        yield GenerationConfig(
            do_sample=False,
            max_new_tokens=max_new_tokens,
            eos_token_id=eos or None,
            pad_token_id=pad,
            use_cache=True,
        )
    finally:
        model.generation_config = own


def _require_positive(**counts: int) -> None:
    for name, value in counts.items():
        if value < 1:
            raise UserError(f"{name} must be at least 1, and is {value}.")


def _shorten(text: str, width: int = 60) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"
