"""What is asked of every causal family: right, as a fresh model reads one text at a time, or refused."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from architectures import PAD
from contracts.recipes import CONTROLS, DIPOLE, random_adapter, random_vector
from dipole.decoding.stepping import steps
from dipole.engaging.blocks import decoder_blocks
from dipole.interventions.fudge import Fudge
from dipole.interventions.logits import made_for
from dipole.interventions.pplm import Pplm
from dipole.lm import LM
from dipole.models.resident import TransformersResident
from dipole.recognizers.likelihood import continuation_likelihoods
from dipole.registry import CONTROLS as CONTROL_CLASSES
from dipole.registry import resolve
from dipole.types import UserError
from reference import fudge as slow_fudge
from reference import generation as slow
from tolerance import CHAOTIC

PROMPTS = ("Paper clips are", "", "If I had to choose between clips and staples, I would", "The cats")
RESPONSES = ((30, 31, 40), (9,), (40, 40), (30, 9))


def copied(lm: LM) -> LM:
    """The same model on which nothing has been called."""
    resident = lm.resident
    return LM(TransformersResident(copy.deepcopy(resident.model), resident.tokenizer, resident.name))


def close(got: Any, want: Any) -> None:
    got, want = (t if isinstance(t, Tensor) else torch.tensor(t) for t in (got, want))
    torch.testing.assert_close(got.double(), want.double(), atol=CHAOTIC, rtol=CHAOTIC)


def _said(lm: LM, fresh: LM) -> None:
    """Log-probabilities of samples, and of given texts, against whole forwards on the fresh model."""
    samples = lm.generate(PROMPTS, n=2, max_new_tokens=5, seed=3)
    with fresh.engaged() as model:
        for sample in samples:
            # RoBERTa counts no position for a padding token inside a text, so what follows it differs.
            said = [*sample.token_ids, PAD].index(PAD)
            close(sample.logprobs[:said], slow.logprobs(model, sample.prompt_ids, sample.token_ids[:said]))


def batched(lm: LM, fresh: LM) -> None:
    prefixes = [lm.prompt_ids(prompt) for prompt in PROMPTS]
    found = lm.logprobs(prefixes, RESPONSES)
    logits = lm.response_logits(PROMPTS, RESPONSES)
    for prefix, response, row, whole in zip(prefixes, RESPONSES, found, logits, strict=True):
        with fresh.engaged() as model:
            want = slow.logprobs(model, prefix, response)
        close(row, want)
        close(whole.float().log_softmax(-1)[range(len(response)), list(response)], want)


def cached(lm: LM, fresh: LM) -> None:
    _said(lm, fresh)


def repeated(lm: LM, fresh: LM) -> None:
    del fresh
    first = lm.generate(PROMPTS, max_new_tokens=4)
    lm.generate("She said that the weather was", max_new_tokens=3)
    again = lm.generate(PROMPTS, max_new_tokens=4)
    assert [s.token_ids for s in again] == [s.token_ids for s in first]
    for one, other in zip(again, first, strict=True):
        close(one.logprobs, other.logprobs)


@torch.no_grad()
def forked(lm: LM, fresh: LM) -> None:
    ids = [lm.prompt_ids(prompt) for prompt in PROMPTS]
    stepper = steps(lm.resident, lm.resident.model, ids)

    def right(logits: Tensor, rows: Sequence[Sequence[int]]) -> None:
        for row, found in zip(rows, logits, strict=True):
            close(found.float(), slow.next_logits(fresh.resident.model, row))

    right(stepper.start(), ids)
    order = [2, 0, 0, 1, 3]
    for _ in range(2):
        fork = stepper.fork(torch.tensor(order))
        right(fork.advance(torch.tensor([40] * 5)), [[*ids[k], 40] for k in order])
        right(fork.advance(torch.tensor([41] * 5)), [[*ids[k], 40, 41] for k in order])
    right(stepper.advance(torch.tensor([50] * 4)), [[*row, 50] for row in ids])
    stepper.keep(torch.tensor([3, 1]))
    right(stepper.advance(torch.tensor([9, 8])), [[*ids[3], 50, 9], [*ids[1], 50, 8]])


def judged(lm: LM, fresh: LM) -> None:
    """VELMA's likelihoods, which packs continuations behind their text where it can."""
    prefixes = [lm.prompt_ids(prompt) for prompt in PROMPTS]
    found = continuation_likelihoods(lm, prefixes, RESPONSES).nats_per_token
    for row, prefix in zip(found, prefixes, strict=True):
        want = [slow.logprobs(fresh.resident.model, prefix, response) for response in RESPONSES]
        close(row, [sum(w) / len(w) for w in want])


def adapted(lm: LM, fresh: LM) -> None:
    """Under LoRA on all linear layers."""
    made = random_adapter(lm, target_modules="all-linear")
    _said(made.apply(lm, 0.5), made.apply(fresh, 0.5))


def read(lm: LM, fresh: LM) -> None:
    """Activations of ragged texts against a hook on one text at a time."""
    rows = [[*lm.prompt_ids(prompt), 9] for prompt in PROMPTS]
    layers = [0, -1]
    found = lm.token_activations(rows, layers)
    model = fresh.resident.model
    width = lm.resident.width
    for ids, states in zip(rows, found, strict=True):
        caught: list[Tensor] = []

        def keep(
            _module: Any, _args: Any, output: Any, shape: tuple[int, ...] = (1, len(ids), width)
        ) -> None:
            parts = [output] if isinstance(output, Tensor) else output
            caught.append(next(p for p in parts if isinstance(p, Tensor) and p.shape == shape))  # noqa: B023

        handles = [decoder_blocks(model)[layer].register_forward_hook(keep) for layer in layers]
        slow.next_logits(model, ids)
        for handle in handles:
            handle.remove()
        close(states, torch.cat(caught))


def pushed(lm: LM, fresh: LM) -> None:
    """Under a vector added after a block."""
    made = random_vector(lm)
    _said(made.apply(lm, 0.5), made.apply(fresh, 0.5))


def ablated(lm: LM, fresh: LM) -> None:
    """Under a direction taken out of everything that is written to the stream."""
    made = random_vector(lm, "ablate")
    _said(made.apply(lm, 0.5), made.apply(fresh, 0.5))


def weighed(lm: LM, fresh: LM) -> None:
    """Under fudge, whose batch of forks is compared with reading every candidate anew."""
    model = fresh.resident.model
    width = lm.token_activations([[5, 6, 7]], [0])[0].shape[-1]
    weight = torch.randn(2 * width, generator=torch.Generator().manual_seed(4)) / width**0.5
    made = Fudge(0, weight, torch.tensor(0.3), 3, **made_for(lm))
    found = made.apply(lm).response_logits(PROMPTS, RESPONSES)
    for prompt, response, logits in zip(PROMPTS, RESPONSES, found, strict=True):
        block = decoder_blocks(model)[0]
        numbers = (weight.tolist(), 0.3, 3, 1.0, 1.0, lm.resident.eos_ids)
        want = slow_fudge.logprobs(model, block, lm.prompt_ids(prompt), response, *numbers)
        close(logits.log_softmax(-1).exp(), want.exp())


def moved(lm: LM, fresh: LM) -> None:
    """Under pplm, a batch against one text at a time."""
    bag = torch.tensor([40, 50])
    made = Pplm(bag, None, None, 0.1, 1, 1.5, 0.9, 0.01, 0, 1, plausible=0, **made_for(lm))
    found = made.apply(lm).response_logits(PROMPTS, RESPONSES)
    for prompt, response, logits in zip(PROMPTS, RESPONSES, found, strict=True):
        (alone,) = made.apply(fresh).response_logits([prompt], [response])
        close(logits.softmax(-1), alone.softmax(-1))


def fitted(name: str) -> Callable[[LM, LM], None]:
    """A control, fitted and used: what it makes can't be told right from wrong, but it must not break."""

    def check(lm: LM, fresh: LM) -> None:
        del fresh
        made = resolve(CONTROL_CLASSES, name)(**CONTROLS[name]).fit(lm, DIPOLE)
        made.apply(lm).generate("The cats", max_new_tokens=2)

    return check


CHECKS: dict[str, Callable[[LM, LM], None]] = {
    "batched": batched,
    "cached": cached,
    "repeated": repeated,
    "forked": forked,
    "VELMA": judged,
    "LoRA": adapted,
    "activations": read,
    "vector": pushed,
    "ablation": ablated,
    "fudge": weighed,
    "pplm": moved,
}
FITS = {f"fit {name}": fitted(name) for name in ("vector", "ablate", "fudge", "pplm", "ppo")}


def outcomes(made: LM, checks: dict[str, Callable[[LM, LM], None]]) -> dict[str, str]:
    """For each check an empty text where the model is right, or the sentence with which it was refused.

    Raises:
        AssertionError: It is wrong.
    """
    found = {}
    for name, check in checks.items():
        try:
            check(copied(made), copied(made))
        except UserError as error:
            found[name] = str(error)
        else:
            found[name] = ""
    return found
