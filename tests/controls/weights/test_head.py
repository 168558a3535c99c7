"""What is said at a position: in chunks against whole, and what models do behind the head."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from architectures import names, tiny_model
from dipole.controls.weights import head as tested
from dipole.controls.weights.head import Base, Head, entropies, exact_kl, head_of
from dipole.types import UserError
from tolerance import FLOAT32_SUM, GRADIENT

WIDTH, VOCAB, COUNT = 6, 40, 23


def slow_kl(left: list[float], right: list[float]) -> float:
    """KL(left || right) of two lists of log-probabilities, one token at a time."""
    total = 0.0
    for a, b in zip(left, right, strict=True):
        total += float(torch.tensor(a).exp()) * (a - b)
    return total


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def linear() -> nn.Linear:
    made = nn.Linear(WIDTH, VOCAB)
    with torch.no_grad():
        made.weight.copy_(drawn(1, VOCAB, WIDTH))
        made.bias.copy_(drawn(2, VOCAB))
    return made.requires_grad_(False)


def plain(x: Tensor) -> Tensor:
    return x


def test_exact_kl_agrees_with_a_loop() -> None:
    policy, other = drawn(0, 2, 3, 7).log_softmax(-1), drawn(1, 2, 3, 7).log_softmax(-1)
    found = exact_kl(policy, other)
    for row in range(2):
        for token in range(3):
            wanted = slow_kl(policy[row, token].tolist(), other[row, token].tolist())
            assert found[row, token].item() == pytest.approx(wanted, abs=FLOAT32_SUM)


def test_exact_kl_of_a_distribution_from_itself_is_nothing() -> None:
    logprobs = drawn(3, 1, 2, 5).log_softmax(-1)
    assert exact_kl(logprobs, logprobs).abs().max() < FLOAT32_SUM


@pytest.mark.parametrize("chunk", [1, 3 * VOCAB, 1 << 22])
def test_chunks_read_as_the_whole_does_gradients_too(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tested, "_CHUNK", chunk)
    head, targets = Head(linear(), plain), torch.arange(COUNT) % VOCAB
    one, other = (drawn(4, COUNT, WIDTH).requires_grad_() for _ in range(2))
    base = Base(drawn(5, COUNT, WIDTH), 1.7)
    found = head.read(one, targets, base, entropy=True)

    logprobs = head.module(other).log_softmax(-1)
    softened = (head.module(base.hidden) / 1.7).log_softmax(-1)
    picked = logprobs[torch.arange(COUNT), targets]
    entropy = -(logprobs.exp() * logprobs).sum(-1)
    apart = (logprobs.exp() * (logprobs - softened)).sum(-1)
    for got, want in zip(found, (picked, entropy, apart), strict=True):
        torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-5)
    assert not found.entropy.requires_grad

    weights = drawn(6, COUNT)
    (found.logprobs * weights + found.divergence * weights.square()).sum().backward()
    (picked * weights + apart * weights.square()).sum().backward()
    torch.testing.assert_close(one.grad, other.grad, atol=GRADIENT, rtol=GRADIENT)


@pytest.mark.parametrize(("chunk", "most"), [(VOCAB, 2), (8 * VOCAB, 8), (1 << 22, COUNT)])
def test_no_more_than_a_chunk_of_logits_is_made_at_once(
    chunk: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tested, "_CHUNK", chunk)
    module, seen = linear(), []
    module.register_forward_hook(lambda _m, _a, out: seen.append(len(out)))
    hidden = drawn(4, COUNT, WIDTH).requires_grad_()
    Head(module, plain).read(hidden, torch.zeros(COUNT, dtype=torch.long)).logprobs.sum().backward()
    assert max(seen) <= most


@pytest.mark.parametrize(
    ("finish", "config"),
    [
        (plain, {}),
        (lambda x: 0.3 * x, {}),
        (lambda x: 2.0 * torch.tanh(x / 2.0), {"final_logit_softcapping": 2.0}),
    ],
)
def test_what_a_model_does_behind_its_head_is_found(finish: object, config: dict[str, float]) -> None:
    module, hidden = linear(), drawn(7, 3, WIDTH)
    wanted = finish(module(hidden))  # type: ignore[operator]
    head = head_of(module, SimpleNamespace(**config), hidden, wanted, "a model")
    other = drawn(8, 2, WIDTH)
    torch.testing.assert_close(head.logits(other), finish(module(other)))  # type: ignore[operator]


def test_in_half_precision_a_weak_cap_is_a_cap() -> None:
    module, hidden = linear(), drawn(7, 3, WIDTH)
    cap = 2.5 * float(module(hidden).abs().max())  # changes the largest logit by a twentieth
    wanted = (cap * torch.tanh(module(hidden) / cap)).bfloat16()
    head = head_of(module, SimpleNamespace(final_logit_softcapping=cap), hidden, wanted, "a model")
    other = 2 * drawn(8, 2, WIDTH)
    torch.testing.assert_close(head.logits(other), cap * torch.tanh(module(other) / cap))


def test_a_token_that_can_not_be_has_no_part_in_the_entropy() -> None:
    logprobs = torch.tensor([0.0, 0.0, -torch.inf]).log_softmax(-1)
    assert entropies(logprobs).item() == pytest.approx(0.693147, abs=1e-5)


def test_anything_else_behind_the_head_is_refused() -> None:
    module, hidden = linear(), drawn(7, 3, WIDTH)
    with pytest.raises(UserError, match="neither a scale nor a cap"):
        head_of(module, SimpleNamespace(), hidden, module(hidden).square(), "a model")


@torch.no_grad()
@pytest.mark.parametrize("name", names())
def test_the_head_of_every_architecture_gives_its_logits(name: str) -> None:
    resident = tiny_model(name).resident
    module, caught = resident.model.get_output_embeddings(), []
    handle = module.register_forward_pre_hook(lambda _m, args: caught.append(args[0]))
    ids = torch.tensor([[5, 6, 7, 8, 9]])
    logits = resident.model(input_ids=ids).logits[0]
    handle.remove()
    config = resident.model.config.get_text_config()
    head = head_of(module, config, caught[0][0, -1:], logits[-1:], name)
    torch.testing.assert_close(head.logits(caught[0][0]), logits, atol=1e-4, rtol=1e-4)
