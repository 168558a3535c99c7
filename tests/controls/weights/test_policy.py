"""What holds the policy near the base: exact divergences, and the anchor on the base's own texts."""

from __future__ import annotations

import pytest
import torch

from architectures import fresh_tiny_model
from controls.weights.small import Letters, Plain, fitted, small, started
from dipole.controls.weights.anchor import divergence
from dipole.controls.weights.policy import Policy
from dipole.controls.weights.rollout import to_rows
from dipole.protocols import Run
from dipole.types import Sample
from families import fresh_family
from reference import generation as slow
from tolerance import BATCHED_LOGITS, GRADIENT


def slow_kl(left: list[float], right: list[float]) -> float:
    """KL(left || right) of two lists of log-probabilities, one token at a time."""
    total = 0.0
    for a, b in zip(left, right, strict=True):
        total += float(torch.tensor(a).exp()) * (a - b)
    return total


def test_the_anchor_is_kl_of_the_policy_from_the_base() -> None:
    """Against one forward a text, with the adapter on and off, and a loop over the vocabulary."""
    lm = fresh_tiny_model("gpt2")
    model = lm.resident.model
    with started(small(anchor_coef=1.0, anchor_size=4), lm, spread=0.1) as run:
        assert run._anchor is not None
        with run._wrapped.disable_adapter():
            anchor = run._anchor.of(0, run._policy, run._accelerator)
        found = divergence(run._policy, anchor).item()
        parts = [divergence(run._policy, part).item() for part in anchor.parts(3)]
        assert len(parts) == 2
        assert sum(parts) == pytest.approx(found, rel=GRADIENT)
        towards, away, tokens = 0.0, 0.0, 0
        for ids, shown, mask in zip(*anchor.rows.batch[:2], anchor.rows.mask, strict=True):
            text = ids[shown.bool()][None]
            response = int(mask.sum())
            with torch.no_grad():
                policy = model(input_ids=text).logits[0].log_softmax(-1)
                with run._wrapped.disable_adapter():
                    base = model(input_ids=text).logits[0].log_softmax(-1)
            for t in range(text.shape[1] - response - 1, text.shape[1] - 1):
                towards += slow_kl(policy[t].tolist(), base[t].tolist())
                away += slow_kl(base[t].tolist(), policy[t].tolist())
                tokens += 1
    assert found == pytest.approx(towards / tokens, rel=GRADIENT)
    assert abs(towards - away) / tokens > 100 * GRADIENT * found  # the other direction is another number


def drift(anchor_coef: float) -> float:
    """KL of the trained model from the base, nats a text, on texts that the base writes unprompted."""
    lm = fresh_tiny_model("gpt2")
    ppo = small(rounds=8, batch_size=16, lr=1e-2, anchor_coef=anchor_coef, anchor_size=8, kl_coef=0.0)
    after = fitted(ppo, lm, Plain(prompts=("The",)), Letters()).apply(lm)
    texts = lm.generate("", n=32, max_new_tokens=ppo.max_new_tokens, seed=99)
    rows = [[s.prompt_ids for s in texts], [s.token_ids for s in texts]]
    pairs = zip(lm.logprobs(*rows), after.logprobs(*rows), strict=True)
    return sum(float((own - moved).sum()) for own, moved in pairs) / len(texts)


def test_the_anchor_keeps_the_bases_own_texts_in_place() -> None:
    free, held = drift(0.0), drift(20.0)
    assert free > 0.05  # there is something to hold
    assert held < 0.5 * free


def test_the_model_itself_makes_logits_of_one_column_alone() -> None:
    lm = fresh_tiny_model("llama")
    rows = to_rows([Sample("", "", (5, 6, 7), (8, 9), (0.0, 0.0), 0, "length")] * 3, 0, torch.device("cpu"))
    policy, made = Policy(lm, lm.resident.model, detach_value=True), []
    handle = lm.resident.model.get_output_embeddings().register_forward_hook(
        lambda _module, _args, out: made.append(out.shape[1])
    )
    policy.read(rows)
    handle.remove()
    assert made == [1]


def test_softening_the_base_raises_the_entropy() -> None:
    def entropy(temperature: float) -> float:
        lm, last = fresh_tiny_model("gpt2"), []
        ppo = small(
            rounds=12,
            batch_size=16,
            lr=1e-2,
            kl_coef=0.0,
            kl_loss_coef=5.0,
            kl_loss_temperature=temperature,
            entropy_bonus=10.0,
        )
        fitted(ppo, lm, Plain(prompts=("The",)), Letters(), Run(on_round=lambda _i, _n, m: last.append(m)))
        return float(last[-1]["entropy"])

    assert entropy(3.0) > entropy(1.0) + 0.05


def test_a_policy_that_must_not_be_padded_reads_rows_by_their_length() -> None:
    """Against the fresh model on one text at a time; gradients too."""
    lm, fresh = fresh_family("rwkv"), fresh_family("rwkv").resident.model
    samples = [
        Sample("", "", (5, 6, 7), (30, 31), (0.0, 0.0), 0, "length"),
        Sample("", "", (8,), (40,), (0.0,), 0, "length"),
        Sample("", "", (9, 10, 11, 12, 13), (50, 51, 52), (0.0, 0.0, 0.0), 0, "length"),
        Sample("", "", (20,), (41,), (0.0,), 0, "length"),
    ]
    lm.resident.probe.require()  # in eval mode it scales its weights once
    weight = lm.resident.model.rwkv.blocks[0].attention.key.weight.requires_grad_()
    policy = Policy(lm, lm.resident.model, detach_value=True)
    rows = to_rows(samples, lm.resident.pad_id, lm.resident.device)
    found = policy(rows, entropy=True)
    for row, sample in enumerate(samples):
        size = len(sample.token_ids)
        want = slow.logprobs(fresh, sample.prompt_ids, sample.token_ids)
        assert found.logprobs[row, -size:].tolist() == pytest.approx(want, abs=BATCHED_LOGITS)
        assert not found.logprobs[row, : 3 - size].any()
    found.logprobs.sum().backward()
    alone = torch.zeros_like(weight)
    for sample in samples:
        (part,) = torch.autograd.grad(
            policy(to_rows([sample], lm.resident.pad_id, lm.resident.device)).logprobs.sum(), weight
        )
        alone += part
    assert weight.grad is not None
    torch.testing.assert_close(weight.grad, alone, atol=BATCHED_LOGITS, rtol=BATCHED_LOGITS)
