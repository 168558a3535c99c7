from __future__ import annotations

import functools
import gc
import weakref

import pytest
import torch

from architectures import ARCHITECTURES, BOS, CONTEXT, PAD, fresh_tiny_model, names, tiny_model, with_real
from dipole.batching import pad_batch
from dipole.lm import LM
from dipole.models.resident import TransformersResident
from dipole.recognizers import _routes, likelihood
from dipole.recognizers._tree import TEXT, build_tree, packed_mask, visibility
from dipole.recognizers.likelihood import continuation_likelihoods
from dipole.types import UserError
from reference import velma as reference
from tolerance import BATCHED_LOGITS, EXACT, FLOAT32_SUM, SCORE, deep

TEXTS = [
    "I hate staples. Of course the clips are good",
    "So",
    "She said that",
    "If I had to choose between paper clips and staples, I would go",
]
WIDE = 50

# Same first words, one token alone, and nothing in common.
POLES = [" Paper clips are the best.", " Paper clips are the worst of all.", " No", " The cats like dogs"]


def ragged(lm: LM) -> tuple[list[list[int]], list[list[int]]]:
    prefixes = [lm.resident.encode(text) for text in TEXTS]
    prefixes += [[prefixes[0][-1]], lm.resident.encode("")]
    return prefixes, [lm.resident.continuation_ids(pole) for pole in POLES]


@functools.cache
def by_token(name: str) -> list[list[list[float]]]:
    """Log-probabilities, a row a prefix: of each statement, then of its own tokens from the second on."""
    lm = tiny_model(name)
    prefixes, poles = ragged(lm)
    model = lm.resident.model
    return [
        [
            *(reference.token_logprobs(model, p, pole) for pole in poles),
            reference.token_logprobs(model, p[:1], p[1:]),
        ]
        for p in prefixes
    ]


@pytest.mark.parametrize("name", with_real(names()))
def test_equals_the_slow_reference_on_ragged_batches(name: str) -> None:
    lm = tiny_model(name)
    prefixes, poles = ragged(lm)
    found = continuation_likelihoods(lm, prefixes, poles, batch_size=3).nats_per_token
    wanted = [[sum(tokens) / len(tokens) for tokens in row[:-1]] for row in by_token(name)]
    torch.testing.assert_close(
        found, torch.tensor(wanted, dtype=torch.float64), atol=deep(SCORE, name), rtol=0
    )
    assert float(found.std()) > 0.1, "the model is too flat for the comparison to mean much"


@pytest.mark.parametrize("name", with_real(names()))
@pytest.mark.parametrize("route", [_routes.packed, _routes.cached, _routes.plain, _routes.unpadded])
def test_every_route_that_a_model_can_take_is_right(name: str, route: _routes.Route) -> None:
    lm = tiny_model(name)
    if route is _routes.packed and name in {"bloom", "falcon_alibi", "gemma2", "mistral_window"}:
        pytest.skip("positions come from a 2-D mask, or the rows are wider than the window")
    prefixes, poles = ragged(lm)
    starts = [max(1, len(p) - 3) for p in prefixes]
    with lm.engaged() as model:
        readings = route(lm.resident, model, prefixes, build_tree(poles), starts)
    for start, reading, wanted in zip(starts, readings, by_token(name), strict=True):
        for found, tokens in zip(reading.continuations, wanted[:-1], strict=True):
            torch.testing.assert_close(found, torch.tensor(tokens), atol=deep(SCORE, name), rtol=0)
        torch.testing.assert_close(
            reading.text, torch.tensor(wanted[-1][start - 1 :]), atol=deep(SCORE, name), rtol=0
        )


@pytest.mark.parametrize("name", with_real(names()))
def test_text_logprobs_are_those_of_the_lm(name: str) -> None:
    lm = tiny_model(name)
    prefixes, poles = ragged(lm)
    starts = [max(1, len(p) // 2) for p in prefixes]
    starts[2] = len(prefixes[2])  # wants none
    found = continuation_likelihoods(lm, prefixes, poles, starts)
    wanted = lm.logprobs(
        [p[:s] for p, s in zip(prefixes, starts, strict=True)],
        [p[s:] for p, s in zip(prefixes, starts, strict=True)],
    )
    assert [len(t) for t in found.text_logprobs] == [
        len(p) - s for p, s in zip(prefixes, starts, strict=True)
    ]
    for mine, theirs in zip(found.text_logprobs, wanted, strict=True):
        torch.testing.assert_close(mine, theirs, atol=deep(SCORE, name), rtol=0)
    alone = continuation_likelihoods(lm, prefixes, poles).nats_per_token
    torch.testing.assert_close(found.nats_per_token, alone, atol=deep(SCORE, name), rtol=0)


@pytest.mark.parametrize("name", with_real(names()))
def test_batch_equals_one_by_one_and_order_is_irrelevant(name: str) -> None:
    lm = tiny_model(name)
    prefixes, poles = ragged(lm)
    batch = continuation_likelihoods(lm, prefixes, poles).nats_per_token
    single = torch.cat([continuation_likelihoods(lm, [p], poles).nats_per_token for p in prefixes])
    torch.testing.assert_close(batch, single, atol=deep(SCORE, name), rtol=0)
    turned = continuation_likelihoods(lm, prefixes[::-1], poles[::-1]).nats_per_token
    assert torch.equal(turned, batch.flip(0, 1))


@pytest.mark.parametrize("name", list(ARCHITECTURES))
def test_padding_side_is_irrelevant(name: str) -> None:
    lm = tiny_model(name)
    prefixes, poles = ragged(lm)
    found = continuation_likelihoods(lm, prefixes, poles[:1]).nats_per_token[:, 0]
    rows = [[*p, *poles[0]] for p in prefixes]
    for side in ("left", "right"):
        batch = pad_batch(rows, 7, side, length=WIDE)  # more padding than needed, of another id
        with torch.no_grad():
            logits = lm.resident.model(**lm.resident.inputs(batch)).logits.log_softmax(-1)
        for r, (prefix, row) in enumerate(zip(prefixes, rows, strict=True)):
            first = WIDE - len(row) if side == "left" else 0
            picked = [logits[r, first + c - 1, row[c]] for c in range(len(prefix), len(row))]
            assert float(torch.stack(picked).double().mean()) == pytest.approx(
                float(found[r]), abs=BATCHED_LOGITS
            )


@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma2", "falcon"])
def test_a_text_too_long_keeps_its_end_and_its_start_token(name: str) -> None:
    lm = tiny_model(name)
    poles = [lm.resident.continuation_ids(pole) for pole in POLES]
    room = CONTEXT - max(len(p) for p in poles)
    body = [30 + i % 200 for i in range(3 * CONTEXT)]
    for head, kept in (([BOS], [BOS, *body[-room + 1 :]]), ([9], body[-room:])):
        for length in (room, room + 1, 3 * CONTEXT):
            prefix = [*head, *body][-length:] if length <= room else [*head, *body[-length + 1 :]]
            fits = length <= CONTEXT
            starts = [length - 4, 1] if fits else None
            found = continuation_likelihoods(lm, [prefix, [5]], poles, starts)
            shown = prefix if length <= room else kept
            wanted = [reference.mean_loglikelihood(lm.resident.model, shown, p) for p in poles]
            assert found.nats_per_token[0].tolist() == pytest.approx(wanted, abs=SCORE)
            assert found.cut == [max(0, length - room), 0]
            if fits:  # the text's own log-probabilities see all of it, also where the statements do not
                own = reference.token_logprobs(lm.resident.model, prefix[:-4], prefix[-4:])
                assert found.text_logprobs[0].tolist() == pytest.approx(own, abs=SCORE)


def test_own_logprobs_of_a_text_beyond_the_context_are_refused() -> None:
    with pytest.raises(UserError, match="longer than the context"):
        continuation_likelihoods(tiny_model("gpt2"), [[5] * 80], [[6], [7]], [70])


def test_no_room_for_the_statements_says_the_numbers() -> None:
    lm = tiny_model("gpt2")
    with pytest.raises(UserError, match=r"up to 63 tokens.*context of gpt2 \(64 tokens\)"):
        continuation_likelihoods(lm, [[5]], [[6] * 63, [7]])
    continuation_likelihoods(lm, [[5, 6, 7]], [[6] * 62, [7]])


@pytest.mark.parametrize("start", [0, 3])
def test_a_token_without_a_prediction_is_refused(start: int) -> None:
    with pytest.raises(ValueError, match="no predicted token"):
        continuation_likelihoods(tiny_model("gpt2"), [[5, 6]], [[7]], [start])


def test_the_tree_shares_beginnings_and_feeds_no_last_token() -> None:
    tree = build_tree([[1, 2, 3], [1, 2, 4, 5], [9], [1, 2, 3]])
    assert tree.ids == (1, 2, 4)
    assert tree.parents == (TEXT, 0, 1)
    assert tree.depths == (0, 1, 2)
    assert tree.sources == ((TEXT, 0, 1), (TEXT, 0, 1, 2), (TEXT,), (TEXT, 0, 1))
    assert tree.longest == 4


def test_a_branch_sees_its_ancestors_and_no_sibling() -> None:
    tree = build_tree([[1, 2, 3], [1, 4, 3], [6, 4, 3]])
    assert tree.ids == (1, 2, 4, 6, 4)
    assert visibility(tree).int().tolist() == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 0, 1, 0, 0],
        [0, 0, 0, 1, 0],
        [0, 0, 0, 1, 1],
    ]
    mask = packed_mask([2, 1], tree, torch.float32)
    assert mask.shape == (2, 1, 7, 7)
    assert (mask[0, 0, 6] == 0).tolist() == [True, True, False, False, False, True, True]
    assert (mask[1, 0, 6] == 0).tolist() == [False, True, False, False, False, True, True]
    assert (mask[1, 0, 0] == 0).tolist() == [True, False, False, False, False, False, False]
    assert packed_mask([2, 2], tree, torch.float32).shape == (1, 1, 7, 7)


def test_logprobs_are_picked_in_chunks_as_in_one_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = 5 * torch.randn(3, 4, 50, generator=generator)
    columns = torch.randint(0, 4, (3, 6), generator=generator)
    tokens = torch.randint(0, 50, (3, 6), generator=generator)
    full = logits.double().log_softmax(-1)
    wanted = torch.stack([full[r, columns[r], tokens[r]] for r in range(3)])
    for chunk in (1, 130, 1 << 23):
        monkeypatch.setattr(_routes, "_CHUNK", chunk)
        found = _routes.picked_logprobs(logits, columns, tokens)
        torch.testing.assert_close(found.double(), wanted, atol=SCORE, rtol=FLOAT32_SUM)


@pytest.mark.parametrize(
    ("name", "route"),
    [
        *(
            (n, "packed")
            for n in ("gpt2", "llama", "mistral", "qwen3", "gemma", "phi", "gpt_neox", "opt", "falcon")
        ),
        *((n, "cached") for n in ("bloom", "falcon_alibi", "gemma2", "mistral_window")),
    ],
)
def test_each_architecture_takes_its_fastest_right_route(name: str, route: str) -> None:
    lm = tiny_model(name)
    with lm.engaged() as model:
        assert likelihood._route(lm, model).__name__ == route


def test_rows_wider_than_a_local_window_are_not_packed() -> None:
    lm = fresh_tiny_model("mistral")
    lm.resident.model.config.sliding_window = 24  # wider than the rows of the self-check
    poles = [lm.resident.continuation_ids(pole) for pole in POLES]
    prefixes = [[30 + i for i in range(45)], [5, 6]]
    found = continuation_likelihoods(lm, prefixes, poles).nats_per_token
    assert {r.__name__ for r in likelihood._verdicts[lm.resident].values()} == {"packed"}
    wanted = [[reference.mean_loglikelihood(lm.resident.model, p, pole) for pole in poles] for p in prefixes]
    torch.testing.assert_close(found, torch.tensor(wanted, dtype=torch.float64), atol=SCORE, rtol=0)
    unbounded = continuation_likelihoods(tiny_model("mistral"), prefixes, poles).nats_per_token
    assert float((found - unbounded)[0].abs().max()) > 100 * SCORE


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_packing_works_with_either_attention(implementation: str) -> None:
    lm = fresh_tiny_model("llama")
    lm.resident.model.set_attn_implementation(implementation)
    prefixes, poles = ragged(lm)
    found = continuation_likelihoods(lm, prefixes, poles).nats_per_token
    wanted = continuation_likelihoods(tiny_model("llama"), prefixes, poles).nats_per_token
    torch.testing.assert_close(found, wanted, atol=SCORE, rtol=0)
    assert {r.__name__ for r in likelihood._verdicts[lm.resident].values()} == {"packed"}


class IgnoresTheMask(torch.nn.Module):
    """A causal LM that takes a 4-D mask without an error and does not use it."""

    def __init__(self, inner: torch.nn.Module) -> None:
        super().__init__()
        self.inner, self.config, self.dtype, self.calls = inner, inner.config, inner.dtype, 0

    def get_input_embeddings(self) -> torch.nn.Module:
        return self.inner.get_input_embeddings()

    def get_output_embeddings(self) -> torch.nn.Module:
        return self.inner.get_output_embeddings()

    def forward(self, input_ids, attention_mask=None, position_ids=None, **more):
        self.calls += 1
        if more.get("use_cache"):
            raise NotImplementedError("no cache")
        if attention_mask is not None and attention_mask.ndim == 4:
            attention_mask = torch.ones_like(input_ids)
        return self.inner(
            input_ids=input_ids, attention_mask=attention_mask, position_ids=position_ids, use_cache=False
        )


def test_a_model_that_ignores_the_mask_or_has_no_cache_is_read_the_plain_way() -> None:
    honest = tiny_model("llama")
    odd = LM(TransformersResident(IgnoresTheMask(honest.resident.model), honest.resident.tokenizer, "odd"))
    prefixes, poles = ragged(odd)
    found = continuation_likelihoods(odd, prefixes, poles).nats_per_token
    wanted = continuation_likelihoods(honest, prefixes, poles).nats_per_token
    torch.testing.assert_close(found, wanted, atol=SCORE, rtol=0)
    assert [r.__name__ for r in likelihood._verdicts[odd.resident].values()] == ["plain"]


class WrongWithPadding(IgnoresTheMask):
    """A causal LM that ignores every mask, so that padding would be read as text."""

    def forward(self, input_ids, attention_mask=None, **more):
        if more.get("use_cache"):
            raise NotImplementedError("no cache")
        return self.inner(input_ids=input_ids, use_cache=False)


def test_a_model_that_reads_padding_is_never_padded() -> None:
    honest = tiny_model("gpt2")
    odd = LM(TransformersResident(WrongWithPadding(honest.resident.model), honest.resident.tokenizer, "odd"))
    prefixes, poles = ragged(odd)
    found = continuation_likelihoods(odd, prefixes, poles).nats_per_token
    wanted = continuation_likelihoods(honest, prefixes, poles).nats_per_token
    torch.testing.assert_close(found, wanted, atol=SCORE, rtol=0)
    assert [r.__name__ for r in likelihood._verdicts[odd.resident].values()] == [
        "plain"
    ]  # which takes rows of one length only


def test_the_check_runs_once_and_does_not_keep_the_model_alive() -> None:
    inner = tiny_model("llama").resident
    model = IgnoresTheMask(inner.model)
    lm = LM(TransformersResident(model, inner.tokenizer, "odd"))
    continuation_likelihoods(lm, [[5, 6]], [[7], [8]])
    checked = model.calls
    continuation_likelihoods(lm, [[5, 6]], [[7], [8]])
    assert model.calls == checked + 1
    gone = weakref.ref(lm.resident)
    del lm, model
    gc.collect()
    assert gone() is None


def test_equal_rows_and_equal_continuations_are_computed_once() -> None:
    lm = fresh_tiny_model("gpt2")
    widths: list[tuple[int, ...]] = []
    continuation_likelihoods(lm, [[5]], [[6], [7]])
    hook = lm.resident.model.register_forward_pre_hook(
        lambda _module, _args, kwargs: widths.append(tuple(kwargs["input_ids"].shape)), with_kwargs=True
    )
    found = continuation_likelihoods(lm, [[5, 6], [5, 6], [8, 9]], [[7, 8, 9], [7, 8, 9], [7, 8, 4]])
    hook.remove()
    assert widths == [(2, 4)]
    assert float((found.nats_per_token[:, 0] - found.nats_per_token[:, 1]).abs().max()) == EXACT
    assert torch.equal(found.nats_per_token[0], found.nats_per_token[1])


def test_long_rows_go_in_smaller_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(likelihood, "_MASK_CELLS", 100)
    assert list(likelihood._batches([1, 1, 1, 3, 8, 30], 2, 3)) == [
        slice(0, 3),
        slice(3, 4),
        slice(4, 5),
        slice(5, 6),
    ]


def test_only_the_columns_that_are_read_get_logits() -> None:
    lm = fresh_tiny_model("gpt2")
    shapes: list[tuple[int, ...]] = []
    continuation_likelihoods(lm, [[5]], [[6], [7]])
    lm.resident.model.lm_head.register_forward_hook(lambda _m, _a, out: shapes.append(tuple(out.shape[:2])))
    continuation_likelihoods(lm, [[5] * 20, [6] * 18], [[7, 8, 9], [7, 8, 4]])
    continuation_likelihoods(lm, [[5] * 20, [6] * 18], [[7, 8, 9], [7, 8, 4]], [15, 17])
    assert shapes == [(2, 1 + 2), (2, 5 + 1 + 2)]


def test_nothing_is_left_in_the_model() -> None:
    lm = tiny_model("llama")
    prefixes, poles = ragged(lm)
    before = {k: v.clone() for k, v in lm.resident.model.state_dict().items()}
    continuation_likelihoods(lm, prefixes, poles)
    after = lm.resident.model.state_dict()
    assert all(torch.equal(before[k], after[k]) for k in before)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in lm.resident.model.modules())
    assert PAD not in {i for p in prefixes for i in p}
