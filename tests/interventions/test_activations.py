"""The activations surface: what vectors do inside a model, against weights edited by hand."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from architectures import ARCHITECTURES, EXTRAS, fresh_tiny_model, tiny_model
from contracts.recipes import random_vector
from contracts.state import state
from dipole.batching import pad_batch
from dipole.decoding.distribution import Decoding
from dipole.engaging.blocks import decoder_blocks
from dipole.engaging.stack import engaged
from dipole.engaging.writers import writer_names
from dipole.interventions import load_intervention
from dipole.interventions.activations import SteeringVector
from dipole.lm import LM
from dipole.models.resident import TransformersResident
from dipole.types import UserError
from machine import needs_bfloat16
from tolerance import BATCHED_LOGITS, FLOAT32_SUM

TEXTS = ["Paper clips are the best.", "The cats like", "If I had to choose between clips and staples,"]
ALL = [*ARCHITECTURES, *EXTRAS]
EDITED_WEIGHTS = 1e-8  # two routes to one float64 network
# Modules that write to the residual stream, by the name of their last part.
_OUTPUTS = ("c_proj", "o_proj", "down_proj", "dense", "dense_4h_to_h", "out_proj", "fc2")
_TABLES = ("wte", "wpe", "embed_tokens", "embed_positions", "embed_in", "word_embeddings")


def in_double(name: str) -> LM:
    """A copy in float64 whose output embedding shares nothing with the input's."""
    lm = fresh_tiny_model(name)
    model = lm.resident.model.double()
    head = model.get_output_embeddings()
    head.weight = nn.Parameter(head.weight.detach().clone(), requires_grad=False)
    return LM(TransformersResident(model, lm.resident.tokenizer, name))


def logits_of(lm: LM, text: str = TEXTS[2]) -> Tensor:
    with lm.engaged() as model:
        out: Tensor = model(input_ids=torch.tensor([lm.resident.encode(text)])).logits[0]
    return out


def with_edited_weights(lm: LM, r: Tensor, s: float) -> LM:
    """W ← W - s r rᵀ W in every matrix and bias that writes to the stream; rows of embeddings likewise."""
    changed = 0
    for name, module in lm.resident.model.named_modules():
        last = name.rsplit(".", 1)[-1]
        if last in _TABLES:
            module.weight.data -= s * (module.weight @ r)[:, None] * r
        elif last in _OUTPUTS:
            stored_in_by_out = type(module).__name__ == "Conv1D"
            w = module.weight.data.T if stored_in_by_out else module.weight.data  # (out, in)
            w -= s * torch.outer(r, r @ w)
            if module.bias is not None:
                module.bias.data -= s * (module.bias @ r) * r
        else:
            continue
        changed += 1
    assert changed >= 1 + 2 * len(decoder_blocks(lm.resident.model))
    return lm


@pytest.mark.parametrize("strength", [1.0, 0.4, -0.5])
@pytest.mark.parametrize(
    "name", ["gpt2", "llama", "mistral", "qwen3", "gemma", "phi", "gpt_neox", "opt", "falcon", "falcon_alibi"]
)
def test_ablation_is_the_edit_of_the_weights(name: str, strength: float) -> None:
    lm = in_double(name)
    ablate = random_vector(lm, "ablate")
    hooked = logits_of(ablate.apply(lm, strength))
    r = ablate.unit_vectors[0]
    want = logits_of(with_edited_weights(in_double(name), r, strength))
    torch.testing.assert_close(hooked, want, atol=EDITED_WEIGHTS, rtol=EDITED_WEIGHTS)


@pytest.mark.parametrize("name", ALL)
def test_ablation_leaves_nothing_of_the_direction_at_any_layer_and_is_idempotent(name: str) -> None:
    lm = in_double(name)
    ablate = random_vector(lm, "ablate")
    steered = ablate.apply(lm)
    layers = range(len(decoder_blocks(lm.resident.model)))
    r = ablate.unit_vectors[0].float()
    # One by one: in float64 some architectures give NaN on padding.
    read = [each.activations(TEXTS, layers, batch_size=1) for each in (lm, steered)]
    for before, after in zip(*read, strict=True):
        assert float((before @ r).abs().max()) > 0.1
        assert float((after @ r).abs().max()) < 1e-6 * max(1.0, float(after.norm(dim=-1).max()))
    torch.testing.assert_close(
        logits_of(ablate.apply(steered)), logits_of(steered), atol=EDITED_WEIGHTS, rtol=EDITED_WEIGHTS
    )


def test_a_model_whose_blocks_do_not_add_up_is_ablated_block_by_block(monkeypatch: Any) -> None:
    lm = in_double("llama")
    ablate = random_vector(lm, "ablate")
    known = logits_of(ablate.apply(lm))
    monkeypatch.setattr("dipole.engaging.vectors.writer_names", lambda *_: ())
    steered = ablate.apply(lm)
    layers = range(3)
    r = ablate.unit_vectors[0].float()
    assert max(float((h @ r).abs().max()) for h in steered.activations(TEXTS, layers)) < 1e-4
    # Between attention and MLP the direction is there, so the two forms are not the same.
    assert not torch.allclose(logits_of(steered), known)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_writes_to_the_stream_is_found_in_every_architecture(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {}
    for name in ALL:
        model = fresh_tiny_model(name).resident.model.to(dtype)
        found[name] = writer_names(model, decoder_blocks(model)[0])
        with monkeypatch.context() as patched:
            patched.delattr("dipole.engaging.writers._search")
            assert writer_names(model, decoder_blocks(model)[0]) == found[name]  # kept
    assert found == {
        **dict.fromkeys(
            ["llama", "mistral", "mistral_window", "qwen3", "gemma", "phi"], ("self_attn", "mlp")
        ),
        **dict.fromkeys(["falcon", "falcon_alibi"], ("self_attention", "mlp")),
        "gpt2": ("attn", "mlp"),
        "gpt_neox": ("attention", "mlp"),
        "opt": ("self_attn", "fc2"),
        "bloom": ("self_attention.dense", "mlp.dense_4h_to_h"),
        "gemma2": ("post_attention_layernorm", "post_feedforward_layernorm"),
    }


def test_an_addition_is_a_bias_of_the_block() -> None:
    lm = in_double("gpt2")
    vector = random_vector(lm)
    steered = logits_of(vector.apply(lm, -0.7))
    biased = in_double("gpt2")
    biased.resident.model.transformer.h[0].mlp.c_proj.bias.data += -0.7 * vector.vectors[0]
    torch.testing.assert_close(steered, logits_of(biased), atol=EDITED_WEIGHTS, rtol=EDITED_WEIGHTS)


@pytest.mark.parametrize("name", ["gpt2", "llama", "opt", "gemma"])
def test_an_addition_after_the_last_block_goes_through_norm_and_head_alone(name: str) -> None:
    lm = in_double(name)
    model = lm.resident.model
    last = len(decoder_blocks(model)) - 1
    vector = dataclasses.replace(random_vector(lm), layers=(last,))
    norm = {"gpt2": "transformer.ln_f", "opt": "model.decoder.final_layer_norm"}.get(name, "model.norm")
    caught: list[Tensor] = []
    hook = decoder_blocks(model)[last].register_forward_hook(
        lambda _m, _a, out: caught.append(out[0] if isinstance(out, tuple) else out)
    )
    logits_of(lm)
    hook.remove()
    h = caught[0][0]

    def by_hand(strength: Tensor | float) -> Tensor:
        moved = model.get_submodule(norm)(h + strength * vector.vectors[0])
        out: Tensor = model.get_output_embeddings()(moved)
        return out

    torch.testing.assert_close(
        logits_of(vector.apply(lm, 0.8)), by_hand(0.8), atol=EDITED_WEIGHTS, rtol=EDITED_WEIGHTS
    )
    # The finite difference over strength is the derivative that autograd gives (recipes 1(e)2).
    step = 3e-3  # some norms are taken in float32, so a smaller one drowns in rounding
    change = (logits_of(vector.apply(lm, step)) - logits_of(vector.apply(lm, -step))) / (2 * step)
    _, derivative = torch.autograd.functional.jvp(
        by_hand, torch.zeros((), dtype=torch.float64), torch.ones((), dtype=torch.float64)
    )
    torch.testing.assert_close(change, derivative, atol=1e-3, rtol=1e-3)


class _Toy(nn.Module):
    """Two blocks and an identity unembedding without a norm."""

    class Config:
        num_hidden_layers = 2
        hidden_size = 6

        def get_text_config(self) -> Any:
            return self

    def __init__(self) -> None:
        super().__init__()
        self.config = self.Config()
        self.layers = nn.ModuleList([nn.Linear(6, 6), nn.Linear(6, 6)])

    def forward(self, h: Tensor) -> Tensor:
        for layer in self.layers:
            h = h + layer(h)
        return h


def test_without_a_norm_logits_change_by_exactly_the_vector() -> None:
    """Recipes 1(e)2: W_U is the identity; the blocks are written so that each returns the stream."""
    toy = _Toy()
    for layer in toy.layers:
        layer.register_forward_hook(lambda _m, args, out: args[0] + out)
    toy.forward = lambda h: toy.layers[1](toy.layers[0](h))  # type: ignore[method-assign]
    h, v = torch.randn(1, 3, 6), torch.arange(6.0)
    with torch.no_grad():
        base = toy(h)
        with engaged(toy, [(SteeringVector((1,), v[None]), 3.0)]):
            torch.testing.assert_close(toy(h), base + 3 * v, atol=FLOAT32_SUM, rtol=FLOAT32_SUM)
        assert torch.equal(toy(h), base)


@pytest.mark.parametrize("name", ["gpt2", "llama", "gpt_neox"])
def test_the_first_new_token_is_steered(name: str) -> None:
    lm = tiny_model(name)
    model = lm.resident.model
    last = len(decoder_blocks(model)) - 1
    norm = {"gpt2": "transformer.ln_f", "gpt_neox": "gpt_neox.final_layer_norm"}.get(name, "model.norm")
    rows = model.get_output_embeddings().weight
    winners = model.get_output_embeddings()(model.get_submodule(norm)(1e4 * rows)).argmax(-1)
    token = int((winners == torch.arange(len(rows))).nonzero()[-1])
    vector = SteeringVector((last,), 1e4 * rows[token][None])
    for sample in vector.apply(lm).generate(TEXTS, max_new_tokens=3, decoding=Decoding(temperature=0)):
        assert sample.token_ids[0] == token


@pytest.mark.parametrize("operator", ["add", "piecewise", "project", "ablate"])
@pytest.mark.parametrize("name", ALL)
def test_padding_on_either_side_changes_nothing(name: str, operator: Any) -> None:
    lm = tiny_model(name)
    steered = random_vector(lm, operator).apply(lm, 0.8)
    rows = [lm.resident.encode(text) for text in TEXTS]
    with steered.engaged() as model:
        alone = [model(input_ids=torch.tensor([ids])).logits[0] for ids in rows]
        for side in ("left", "right"):
            batch = pad_batch(rows, lm.resident.pad_id, side)  # type: ignore[arg-type]
            padded = model(**lm.resident.inputs(batch)).logits
            for k, want in enumerate(alone):
                got = padded[k][batch.attention_mask[k] > 0]
                torch.testing.assert_close(got, want, atol=BATCHED_LOGITS, rtol=BATCHED_LOGITS)


def test_nested_blocks_see_their_own_vectors_only() -> None:
    lm = fresh_tiny_model("llama")
    before, base = state(lm.resident.model), logits_of(lm)
    one = random_vector(lm).apply(lm)
    other = random_vector(lm, "ablate").apply(lm, 0.5)
    want_one, want_other = logits_of(one), logits_of(other)
    ids = torch.tensor([lm.resident.encode(TEXTS[2])])
    with one.engaged() as model:
        assert torch.equal(model(input_ids=ids).logits[0], want_one)
        with other.engaged():
            assert torch.equal(model(input_ids=ids).logits[0], want_other)
            with lm.engaged():
                assert torch.equal(model(input_ids=ids).logits[0], base)
            assert torch.equal(model(input_ids=ids).logits[0], want_other)
        with pytest.raises(KeyboardInterrupt), lm.engaged():
            raise KeyboardInterrupt
        assert torch.equal(model(input_ids=ids).logits[0], want_one)
    assert state(lm.resident.model) == before
    assert torch.equal(logits_of(lm), base)


def test_a_vector_that_cannot_be_put_in_leaves_nothing_behind() -> None:
    lm = fresh_tiny_model("llama")
    before, base = state(lm.resident.model), logits_of(lm)
    vector = random_vector(lm)
    absent = dataclasses.replace(vector, layers=(9,))
    with pytest.raises(IndexError), engaged(lm.resident.model, [(vector, 1.0), (absent, 1.0)]):
        raise AssertionError("must not be reached")
    assert state(lm.resident.model) == before
    assert torch.equal(logits_of(lm), base)


def test_vectors_at_several_layers_all_act() -> None:
    lm = tiny_model("gpt2")
    first = random_vector(lm)
    both = dataclasses.replace(
        first,
        layers=(0, 2),
        vectors=torch.cat([first.vectors, -2 * first.vectors]),
        signs=(),
        activation_norms=(),
        mean_norms=(),
    )
    second = dataclasses.replace(first, layers=(2,), vectors=-2 * first.vectors)
    assert torch.equal(logits_of(both.apply(lm)), logits_of(second.apply(first.apply(lm))))


@needs_bfloat16
def test_a_model_in_bfloat16_is_steered_in_bfloat16() -> None:
    lm = fresh_tiny_model("llama")
    lm = LM(TransformersResident(lm.resident.model.bfloat16(), lm.resident.tokenizer, "llama"))
    for operator in ("add", "project", "ablate"):
        vector = random_vector(lm, operator)  # type: ignore[arg-type]
        assert logits_of(vector.apply(lm)).dtype == torch.bfloat16
        assert vector.apply(lm).generate("Paper clips", max_new_tokens=2)[0].token_ids


def test_norms_are_kept_where_asked() -> None:
    lm = tiny_model("llama")
    vector = random_vector(lm, keep_norm=True)
    [before], [after] = lm.activations(TEXTS[:1], [0]), vector.apply(lm, 3.0).activations(TEXTS[:1], [0])
    torch.testing.assert_close(after.norm(dim=-1), before.norm(dim=-1))
    assert not torch.allclose(after, before, atol=0.1)


def test_everything_is_saved(tmp_path: Path) -> None:
    made = SteeringVector(
        (1, 2),
        torch.randn(2, 32),
        "piecewise",
        True,
        (-1, 1),
        (3.5, math.nan),
        (3.25, math.nan),
        "last",
        "0123456789abcdef",
        None,
        'a "quoted" name',
        "llama",
        {"selection": {"chosen": 0}},
    )
    made.save(tmp_path)
    again = load_intervention(tmp_path)
    assert isinstance(again, SteeringVector)
    assert torch.equal(again.vectors, made.vectors)
    for field in dataclasses.fields(SteeringVector):
        if field.name not in ("vectors", "card"):
            assert repr(getattr(again, field.name)) == repr(getattr(made, field.name)), field.name
    meta = json.loads((tmp_path / "dipole.json").read_text())
    assert meta["layers"][0]["relative_norm"] == pytest.approx(float(made.vectors[0].norm()) / 3.5)
    assert "| 2 |" in (tmp_path / "README.md").read_text()


@pytest.mark.parametrize(
    ("key", "value", "match"),
    [
        ("layer_convention", None, "layer convention"),
        ("layer_convention", "hidden_states index", "layer convention"),
        ("layers", [{"layer": 0}], "damaged"),
        ("layers", [], "layers must be a list of 1"),
        ("operator", "rotate", "operator"),
        ("operator", None, "operator"),
    ],
)
def test_a_folder_that_says_too_little_is_refused(tmp_path: Path, key: str, value: Any, match: str) -> None:
    random_vector(tiny_model("llama")).save(tmp_path)
    meta = json.loads((tmp_path / "dipole.json").read_text())
    meta.pop(key) if value is None else meta.update({key: value})
    (tmp_path / "dipole.json").write_text(json.dumps(meta))
    with pytest.raises(UserError, match=match):
        load_intervention(tmp_path)


def test_a_model_that_does_not_fit_is_refused() -> None:
    lm = tiny_model("llama")
    free = dataclasses.replace(random_vector(lm), base_fingerprint=None)
    assert free.apply(tiny_model("gpt2")).applied  # the same width and enough layers
    with pytest.raises(UserError, match="width 7, and the residual stream of llama has 32"):
        SteeringVector((0,), torch.ones(1, 7)).apply(lm)
    with pytest.raises(UserError, match="names layer 3, and llama has layers 0 to 2"):
        dataclasses.replace(free, layers=(3,)).apply(lm)


@pytest.mark.parametrize(
    ("vectors", "layers", "more", "match"),
    [
        (torch.zeros(1, 4), (0,), {}, "not zero"),
        (torch.full((1, 4), math.inf), (0,), {}, "finite"),
        (torch.ones(4), (0,), {}, "one row for each"),
        (torch.ones(2, 4), (0,), {}, "one row for each"),
        (torch.ones(2, 4), (1, 1), {}, "different numbers"),
        (torch.ones(1, 4), (-1,), {}, "from 0 on"),
        (torch.ones(1, 4), (0,), {"operator": "rotate"}, "operator must be one of"),
        (torch.ones(2, 4), (0, 1), {"operator": "ablate"}, "one row"),
        (torch.ones(1, 4), (0,), {"signs": (1, 1)}, "signs needs one number"),
    ],
)
def test_what_does_not_fit_together_is_refused(
    vectors: Tensor, layers: tuple[int, ...], more: dict[str, Any], match: str
) -> None:
    with pytest.raises(UserError, match=match):
        SteeringVector(layers, vectors, **more)


def test_what_writes_to_the_stream_is_found_in_the_base_whatever_acts_beside_it() -> None:
    lm = fresh_tiny_model("llama")
    model = lm.resident.model
    with engaged(model, [(random_vector(lm), 1.0), (random_vector(lm, "ablate"), 1.0)]):
        assert writer_names(model, decoder_blocks(model)[0]) == ("self_attn", "mlp")
