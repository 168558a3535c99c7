"""Pools on LMs: nothing else is written, quotes are verbatim, what is saved loads again."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from architectures import fresh_tiny_model, tiny_model
from dipole.interventions import load_intervention
from dipole.interventions.pools.automaton import Allowed
from dipole.interventions.pools.masking import masked
from dipole.interventions.tokens import Document, Grammar, Labels, Language, Pool, Quotes, Titles
from dipole.lm import LM
from dipole.models import load
from dipole.models.resident import TransformersResident
from dipole.types import UserError
from tolerance import BATCHED_LOGITS

SOURCE = (
    "The cats like the dogs, she said — “naïve café” people don't agree!\n日本語 и другое: well-known "
    "weather was good. Paper clips are the best; staples are the worst. 🙂 Über allen Gipfeln\tist Ruh.\n"
)
OTHER = "The weather was good today, and the cats were not. Paper clips, staples, tea and coffee."
DOCUMENTS = (Document.of("one", SOURCE), Document.of("two", OTHER))
TEXTS = {document.name: document.data.decode() for document in DOCUMENTS}
SCHEMA = json.dumps(
    {
        "type": "object",
        "properties": {"likes": {"enum": ["cats", "café"]}, "much": {"type": "boolean"}},
        "required": ["likes", "much"],
        "additionalProperties": False,
    }
)


def languages() -> dict[str, Language]:
    return {
        "labels": Labels(("cats", "café"), "."),
        "titles": Titles((b"Bern](/b)", "Café]".encode())),
        "quotes": Quotes(DOCUMENTS, 2),
        "patchwork": Quotes(DOCUMENTS, 2, " […] ", cut_cost=1.5),
        "marks": Quotes(DOCUMENTS, 1, marks=("“", "”"), cut_cost=-2.0),
    }


def lm_named(name: str, request: pytest.FixtureRequest) -> LM:
    if name == "stories260k":
        return load(str(request.getfixturevalue("shared") / "models/stories260k"), device="cpu")
    return request.getfixturevalue(name) if name in ("tiny", "mini") else tiny_model(name)


def quoted(language: Quotes, text: str, prompt: str, finished: bool) -> int:
    """Check every quote of a completion; how many there are."""
    segments = language.attribute(text, prompt)
    for segment in segments:
        assert segment.document is not None
        assert segment.text == TEXTS[segment.document][segment.start : segment.end]
    assert all(s.complete for s in (segments if finished else segments[:-1]))
    return len(segments)


@pytest.mark.parametrize("name", ["tiny", "mini", "gpt2", "llama", "stories260k"])
def test_every_quote_is_its_source_from_start_to_end(name: str, request: pytest.FixtureRequest) -> None:
    language = Quotes(DOCUMENTS, 2)
    lm = Pool(language).apply(lm_named(name, request))
    ended = 0
    for sample in lm.generate(["She said", "", "It is written: “"], n=12, max_new_tokens=24, seed=1):
        assert quoted(language, sample.text, sample.prompt, sample.finish_reason == "eos") == 1
        assert sample.text.startswith(" ") == (sample.prompt == "She said")
        ended += sample.finish_reason == "eos"
    assert ended > 3 or name == "stories260k"  # which ends no text before its story is over


@pytest.mark.parametrize("name", ["tiny", "gpt2", "stories260k"])
def test_a_patchwork_is_attributed_segment_by_segment(name: str, request: pytest.FixtureRequest) -> None:
    language = Quotes(DOCUMENTS, 1, " […] ", cut_cost=-12.0)
    lm = Pool(language).apply(lm_named(name, request))
    segments = 0
    for sample in lm.generate(["She said", ""], n=10, max_new_tokens=40, seed=2):
        segments += quoted(language, sample.text, sample.prompt, sample.finish_reason == "eos")
        parts = sample.text.removeprefix(" ").split(" […] ")
        assert all(any(part in text for text in TEXTS.values()) for part in parts[:-1])
    assert segments > 24


def test_quotes_among_free_text(tiny: LM) -> None:
    language = Quotes(DOCUMENTS, 1, marks=("“", "”"), cut_cost=-12.0)
    segments = 0
    prompts = ["She said: “", "I like cats. “The"]
    for sample in Pool(language).apply(tiny).generate(prompts, n=12, max_new_tokens=40, seed=3):
        assert sample.finish_reason == "length" or "”" in sample.text
        segments += quoted(language, sample.text, sample.prompt, sample.finish_reason == "eos")
    assert segments >= 24


def test_a_cut_costs_its_nats(tiny: LM) -> None:
    prompt, quote = "", "The cats like the dogs"
    ids = [*tiny.resident.continuation_ids(quote + " […] "), 0]

    def logits(cost: float) -> torch.Tensor:
        lm = Pool(Quotes(DOCUMENTS, 1, " […] ", cut_cost=cost)).apply(tiny)
        return lm.response_logits([prompt], [ids])[0]

    free, paid = logits(0.0), logits(2.5)
    last = len(ids) - 2  # the token that completes the separator
    assert free[last, ids[last]] - paid[last, ids[last]] == pytest.approx(2.5, abs=1e-4)
    rest = free.isfinite()
    rest[last] = False
    assert torch.equal(free[rest], paid[rest])
    assert torch.equal(free.isneginf(), paid.isneginf())


def test_links_are_closed_with_their_targets(tiny: LM, request: pytest.FixtureRequest) -> None:
    links = ("Bern](/b)", "Café](http://x/(y))", "Paper clips]")
    language = Titles(tuple(sorted(link.encode() for link in links)))
    for lm in (tiny, lm_named("gpt2", request)):
        for sample in (
            Pool(language).apply(lm).generate(["See [", "See [Pap", "“x” [", r"\["], n=8, max_new_tokens=20)
        ):
            text = (
                "" if sample.prompt[0] == "\\" else sample.prompt[sample.prompt.index("[") :]
            ) + sample.text
            for part in text.replace("![", "").split("[")[1:]:
                assert any(part.startswith(link) or link.startswith(part) for link in links), text


def test_padding_columns_and_specials_are_never_allowed() -> None:
    listed, barred = Allowed(torch.tensor([1]).numpy(), True), Allowed(torch.tensor([0, 2]).numpy(), False)
    rows = masked(torch.zeros(2, 6), [listed, barred], 4)
    assert rows.isfinite().tolist() == [
        [False, True, False, False, False, False],
        [False, True, False, True, False, False],
    ]


@pytest.mark.parametrize("kind", [*languages(), "grammar"])
def test_what_is_saved_loads_again(kind: str, tiny: LM, tmp_path: Path) -> None:
    if kind == "grammar":
        pytest.importorskip("llguidance")
    language = languages()[kind] if kind != "grammar" else Grammar(json_schema=SCHEMA)
    made = Pool(
        language, "asap" if kind == "quotes" else "local", rounds=2, max_tokens=8, prior="x", count_end=False
    )
    made.save(tmp_path)
    loaded = load_intervention(tmp_path)
    assert loaded == made
    draws = [pool.apply(tiny).generate(["Say “", "I"], n=2, max_new_tokens=8) for pool in (made, loaded)]
    assert draws[0] == draws[1]


def test_a_damaged_pool_says_so(tmp_path: Path) -> None:
    Pool(languages()["quotes"]).save(tmp_path)
    meta = json.loads((tmp_path / "dipole.json").read_text())
    for change in ({"language": {"type": "poem"}}, {"language": 3}, {"language": {"type": "labels"}}):
        (tmp_path / "dipole.json").write_text(json.dumps({**meta, **change}))
        with pytest.raises(UserError, match=r"update dipole|is damaged"):
            load_intervention(tmp_path)


def test_a_pool_is_on_or_off(tiny: LM) -> None:
    pool = Pool(Labels(("a",)))
    with pytest.raises(UserError, match="no graded strength"):
        pool.apply(tiny, 2.0)
    base = tiny.response_logits(["I"], [[5, 6]])[0]
    assert torch.equal(pool.apply(tiny, 0.0).response_logits(["I"], [[5, 6]])[0], base)
    on = pool.apply(tiny).response_logits(["I"], [[5, 6]])[0]
    kept = on.isfinite()
    torch.testing.assert_close(on[kept], base.float()[kept], atol=BATCHED_LOGITS, rtol=0)


def test_two_pools_allow_what_both_allow(tiny: LM) -> None:
    lm = Pool(Labels(("cats", "tea"))).apply(Pool(Labels(("tea", "coffee"))).apply(tiny))
    assert {s.text for s in lm.generate("I like", n=8, max_new_tokens=8)} == {" tea"}


def test_a_model_without_an_end_is_refused_where_a_text_must_end() -> None:
    made = fresh_tiny_model("gpt2")
    tokenizer = copy.deepcopy(made.resident.tokenizer)
    tokenizer.eos_token = None
    model = made.resident.model
    model.generation_config.eos_token_id = None
    lm = LM(replace(TransformersResident(model, tokenizer, "endless")))
    with pytest.raises(UserError, match="endless has no end-of-text token"):
        Pool(Labels(("a",))).apply(lm).generate("x", max_new_tokens=2)
    assert Pool(Titles((b"A]",))).apply(lm).generate("x [", max_new_tokens=2)[0].text.startswith("A]")


def test_regular_expressions(tiny: LM, request: pytest.FixtureRequest) -> None:
    pytest.importorskip("llguidance")
    for lm in (tiny, lm_named("gpt2", request)):
        steered = Pool(Grammar(regex=r" (yes|né), [0-9]{2,3}\.")).apply(lm)
        for sample in steered.generate(["The answer is", ""], n=6, max_new_tokens=24):
            assert sample.finish_reason == "eos"
            head, _, tail = sample.text.partition(", ")
            assert head in (" yes", " né")
            assert tail[:-1].isdecimal()
            assert 2 <= len(tail[:-1]) <= 3


def test_json_schemas(tiny: LM) -> None:
    pytest.importorskip("llguidance")
    lm = Pool(Grammar(json_schema=SCHEMA)).apply(tiny)
    seen = set()
    for sample in lm.generate("Answer: ", n=8, max_new_tokens=60):
        found: Mapping[str, Any] = json.loads(sample.text)
        assert set(found) == {"likes", "much"}
        assert found["likes"] in ("cats", "café")
        seen.add(sample.text)
    assert len(seen) > 1
    assert Pool(Grammar(json_schema=SCHEMA), "asap", rounds=3).apply(tiny).generate("A", max_new_tokens=40)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"regex": "(a"}, "refuses the regular expression"),
        ({"regex": "(?=a)b"}, "refuses the regular expression"),
        ({"json_schema": '{"type": "colour"}'}, "refuses the JSON schema"),
        ({"json_schema": "{"}, "The JSON schema is no JSON"),
        ({"json_schema": '{"$ref": "#/nowhere"}'}, "points by `\\$ref` to '#/nowhere'"),
        ({}, "give one of the two"),
        ({"regex": "a", "json_schema": "{}"}, "give one of the two"),
    ],
)
def test_what_the_engine_refuses(given: Mapping[str, str], message: str) -> None:
    pytest.importorskip("llguidance")
    with pytest.raises(UserError, match=message):
        Grammar(**given)


def test_without_the_engine_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "llguidance", None)
    with pytest.raises(UserError, match=r"^Grammars need .* pip install 'dipole\[grammar\]'\.$"):
        Grammar(regex="a")
