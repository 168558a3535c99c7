from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from architectures import CONTEXT, fresh_tiny_model, names, tiny_model, with_real
from dipole.engaging.adapters import adapter_state, inject
from dipole.interventions.weights import Adapter
from dipole.lm import LM
from dipole.models.resident import TransformersResident
from dipole.protocols import Recognizer
from dipole.recognizers.velma import Velma, log_odds
from dipole.types import Score, UserError
from reference import velma as reference
from tolerance import EXACT, FLOAT32_SUM, SCORE


class Pair(NamedTuple):
    claim: str = "Paper clips are the best."
    against: str = "Paper clips are the worst."

    def swapped(self) -> Pair:
        return Pair(self.against, self.claim)


TEXTS = ["I hate staples.", "", "So", "The cats like dogs and paper clips are good today", "a"]


@pytest.mark.parametrize(("gap", "probability"), [(0.1, 0.6225), (0.2, 0.7311), (0.5, 0.9241)])
def test_published_numbers(gap: float, probability: float) -> None:
    odds = log_odds(torch.tensor([[gap - 3.0, -3.0]], dtype=torch.float64), 0.2)
    assert round(Score(float(odds[0])).probability, 4) == probability


def test_published_number_at_the_temperature_of_the_notebook() -> None:
    odds = log_odds(torch.tensor([[-2.8, -3.0]], dtype=torch.float64), 0.5)
    assert round(Score(float(odds[0])).probability, 3) == 0.599


def test_the_prior_is_subtracted_from_both() -> None:
    pairs = torch.tensor([[-1.0, -2.0], [-3.0, -3.0]], dtype=torch.float64)
    found = log_odds(pairs, 0.5, prior=torch.tensor([-1.5, -1.0], dtype=torch.float64))
    assert found.tolist() == pytest.approx([3.0, 1.0], abs=FLOAT32_SUM)


@pytest.mark.parametrize("name", with_real(names()))
def test_score_is_the_published_one(name: str) -> None:
    lm, pair = tiny_model(name), Pair("The best.", "A worse one.")
    encode = lm.resident.continuation_ids
    poles = encode(" " + pair.claim), encode(" " + pair.against)
    found = Velma(lm).score(TEXTS, pair)
    prior = reference.log_odds(lm.resident.model, lm.resident.encode(""), *poles)
    corrected = Velma(lm, prior_correction=True).score(TEXTS, pair)
    for text, score, other in zip(TEXTS, found, corrected, strict=True):
        wanted = reference.log_odds(lm.resident.model, lm.resident.encode(text), *poles)
        assert score.probability == pytest.approx(Score(wanted).probability, abs=SCORE)
        assert score.value == pytest.approx(wanted, abs=SCORE / reference.TEMPERATURE)
        assert other.value == pytest.approx(wanted - prior, abs=2 * SCORE / reference.TEMPERATURE)
        assert score.reason is None
    assert corrected[1].value == pytest.approx(0, abs=FLOAT32_SUM)


@pytest.mark.parametrize("name", with_real(names()))
def test_swapping_the_poles_negates_exactly(name: str) -> None:
    velma, pair = Velma(tiny_model(name)), Pair()
    there, back = velma.score(TEXTS, pair), velma.score(TEXTS, pair.swapped())
    assert [s.value for s in there] == [-s.value for s in back]
    assert max(abs(s.value) for s in there) > 0.1


@pytest.mark.parametrize("name", with_real(names()))
def test_identical_statements_score_exactly_zero(name: str) -> None:
    scores = Velma(tiny_model(name)).score(TEXTS, Pair(against="  Paper clips are the best. "))
    assert [s.value for s in scores] == [EXACT] * len(TEXTS)
    assert {s.probability for s in scores} == {0.5}


def test_ids_and_texts_score_the_same() -> None:
    lm = tiny_model("llama")
    ids = [lm.resident.encode(text) for text in TEXTS]
    starts = [len(i) for i in ids]
    starts[3] = 2
    found = Velma(lm).score_ids(ids, Pair(), starts)
    scores = Velma(lm).score(TEXTS, Pair())
    assert found.log_odds.tolist() == pytest.approx([s.value for s in scores], abs=SCORE)
    assert found.nats_per_token.shape == (len(TEXTS), 2)
    own = lm.logprobs([ids[3][:2]], [ids[3][2:]])[0]
    torch.testing.assert_close(found.text_logprobs[3], own, atol=SCORE, rtol=0)
    with_prior = Velma(lm, prior_correction=True).score_ids(ids, Pair(), starts)
    assert len(with_prior.text_logprobs) == len(with_prior.cut) == len(with_prior.log_odds) == len(TEXTS)
    torch.testing.assert_close(with_prior.text_logprobs[3], own, atol=SCORE, rtol=0)


@pytest.mark.parametrize("tail", [" ", "\n", " \t\n "])
def test_white_space_at_the_end_changes_nothing(tail: str) -> None:
    velma = Velma(tiny_model("gpt2"))
    assert velma.score(["I hate staples." + tail], Pair()) == velma.score(["I hate staples."], Pair())
    assert velma.score([tail], Pair()) == velma.score([""], Pair())


def test_a_joiner_that_is_no_space_leaves_the_end_alone() -> None:
    velma = Velma(tiny_model("gpt2"), joiner="")
    assert velma.score(["I hate "], Pair()) != velma.score(["I hate"], Pair())


@pytest.mark.parametrize("text", ["</s>", "<s>", "<s><s>", "</s></s>", "<pad>"])
@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_a_text_of_special_tokens_alone_is_a_text(name: str, text: str) -> None:
    lm = tiny_model(name)
    encode = lm.resident.continuation_ids
    wanted = reference.log_odds(
        lm.resident.model, lm.resident.encode(text), encode(" " + Pair().claim), encode(" " + Pair().against)
    )
    assert Velma(lm).score([text], Pair())[0].value == pytest.approx(wanted, abs=SCORE / 0.2)


def test_a_long_text_is_cut_and_says_so() -> None:
    lm = tiny_model("llama")
    longest = max(len(ids) for ids in Velma(lm).pole_ids(Pair()))
    text = "I would go with the staples. " * 30
    length = len(lm.resident.encode(text.rstrip()))
    score, short = Velma(lm).score([text, "So"], Pair())
    assert score.is_scored
    assert score.reason == f"only the last {CONTEXT - longest} of {length} tokens fit in the judge's context"
    assert short.reason is None


def test_no_room_is_an_error() -> None:
    with pytest.raises(UserError, match="leaves no room"):
        Velma(tiny_model("gpt2")).score(["So"], Pair(claim="staples " * 70))


@pytest.mark.parametrize("pair", [Pair(claim=" "), Pair(against="")])
def test_an_empty_statement_is_an_error(pair: Pair) -> None:
    with pytest.raises(UserError, match="is empty"):
        Velma(tiny_model("gpt2")).score(["So"], pair)


def test_bad_arguments_are_errors() -> None:
    lm = tiny_model("gpt2")
    with pytest.raises(UserError, match="temperature"):
        Velma(lm, temperature=0)
    with pytest.raises(UserError, match="batch_size"):
        Velma(lm, batch_size=0)
    with pytest.raises(UserError, match="list of texts"):
        Velma(lm).score("So", Pair())
    with pytest.raises(UserError, match="cannot score a str"):
        Velma(lm).score(["So"], "Paper clips are the best.")  # type: ignore[arg-type]
    assert Velma(lm).score([], Pair()) == []
    assert isinstance(Velma(lm), Recognizer)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_logits_that_are_not_finite_are_unscored_and_spoil_no_other_text(value: float) -> None:
    lm = fresh_tiny_model("gpt2")
    good = Velma(lm).score(["I hate staples."], Pair())[0]
    poison = 270

    def spoil(_module, _args, kwargs, output):
        rows = (kwargs["input_ids"] == poison).any(-1)
        output.logits[rows] = value
        return output

    lm.resident.model.register_forward_hook(spoil, with_kwargs=True)
    ids = [lm.resident.encode("I hate staples."), [5, poison, 6]]
    found = Velma(lm).score_ids(ids, Pair())
    assert float(found.log_odds[0]) == pytest.approx(good.value, abs=SCORE / 0.2)
    assert not math.isfinite(float(found.log_odds[1]))
    scores = Velma(lm).score(["I hate staples.", lm.resident.tokenizer.decode([5, poison, 6])], Pair())
    assert scores[0].is_scored
    assert not scores[1].is_scored
    assert "log-likelihoods of the two statements" in (scores[1].reason or "")
    assert math.isnan(scores[1].probability)


def test_a_statement_that_the_judge_can_never_say_is_unscored() -> None:
    lm = fresh_tiny_model("gpt2")
    never = next(t for t in Velma(lm).pole_ids(Pair())[1] if t not in Velma(lm).pole_ids(Pair())[0])

    def forbid(_module, _args, output):
        output.logits[..., never] = -math.inf
        return output

    lm.resident.model.register_forward_hook(forbid)
    found = Velma(lm).score_ids([[5, 6]], Pair())
    assert found.nats_per_token[0].isfinite().tolist() == [True, False]
    assert not any(s.is_scored for s in Velma(lm).score(TEXTS, Pair()))


def test_a_model_broken_throughout_is_unscored() -> None:
    lm = fresh_tiny_model("llama")
    lm.resident.model.lm_head.weight.data.fill_(math.nan)
    assert not any(s.is_scored for s in Velma(lm).score(TEXTS, Pair()))


def test_the_judge_reads_with_its_interventions() -> None:
    from peft import LoraConfig

    lm = fresh_tiny_model("llama")
    config = LoraConfig(r=2, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    wrapped = inject(lm.resident.model, [config])
    torch.manual_seed(3)
    for name, parameter in wrapped.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter)
    adapter = Adapter(config, adapter_state(wrapped, "dipole_0"), None, "llama")
    wrapped.unload()
    base = Velma(lm).score(TEXTS, Pair())
    steered = adapter.apply(lm, 1.0)
    found = Velma(steered).score(TEXTS, Pair())
    assert abs(found[0].value - base[0].value) > 0.05
    poles = Velma(lm).pole_ids(Pair())
    with steered.engaged() as model:
        wanted = reference.log_odds(model, lm.resident.encode(TEXTS[0]), *poles)
    assert found[0].value == pytest.approx(wanted, abs=SCORE / 0.2)
    assert Velma(lm).score(TEXTS, Pair()) == base
    assert Velma(adapter.apply(lm, 0.0)).score(TEXTS, Pair()) == base


def test_scores_do_not_depend_on_the_batch_size() -> None:
    lm = tiny_model("mistral")
    scores = [Velma(lm, batch_size=size).score(TEXTS, Pair()) for size in (1, 2, 32)]
    for other in scores[1:]:
        assert [s.value for s in other] == pytest.approx([s.value for s in scores[0]], abs=SCORE)


def test_gpt2_tokens_do_not_merge_across_the_boundary(shared: Path) -> None:
    folder = shared / "data" / "tokenizers" / "gpt2"
    if not folder.is_dir():
        pytest.skip("GPT-2's tokenizer is not beside the checkout")
    backend = Tokenizer(models.BPE.from_file(str(folder / "vocab.json"), str(folder / "merges.txt")))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|endoftext|>")
    torch.manual_seed(0)
    config = GPT2Config(
        n_embd=16, n_layer=1, n_head=2, n_positions=64, vocab_size=len(tokenizer), initializer_range=0.3
    )
    lm = LM(TransformersResident(GPT2LMHeadModel(config).eval(), tokenizer, "gpt2"))
    pair = Pair("thing good", "body there")
    velma = Velma(lm, joiner="")
    # As strings "no" and "thing" become one token, and the last tokens of the whole are another window.
    apart = tokenizer("no")["input_ids"] + tokenizer("thing good")["input_ids"]
    assert tokenizer("nothing good")["input_ids"] != apart
    claim, against = velma.pole_ids(pair)
    assert claim == tokenizer("thing good")["input_ids"]
    wanted = reference.log_odds(lm.resident.model, tokenizer("no")["input_ids"], claim, against)
    assert velma.score(["no"], pair)[0].value == pytest.approx(wanted, abs=SCORE / 0.2)
    assert tokenizer.decode(Velma(lm).pole_ids(Pair())[0]) == " Paper clips are the best."
