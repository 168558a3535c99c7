"""The controls that make token pools."""

from __future__ import annotations

from pathlib import Path

import pytest

from dipole.concepts import Dipole, Mentions, load_dipole
from dipole.controls.tokens.grammar import Grammar
from dipole.controls.tokens.patchwork import Patchwork
from dipole.controls.tokens.pool import Pool
from dipole.controls.tokens.quotes import Quotes
from dipole.controls.tokens.titles import Titles
from dipole.interventions.tokens import Labels
from dipole.lm import LM
from dipole.registry import CONTROLS, options, resolve
from dipole.types import UserError

TEA = Dipole("Tea is the best.", "Tea is the worst.")
NAMES = ("pool", "titles", "quotes", "patchwork", "grammar")


@pytest.fixture
def source(tmp_path: Path) -> str:
    file = tmp_path / "source.txt"
    file.write_text("The cats like the dogs. Tea is the best of drinks.", "utf-8")
    return str(file)


def test_labels_are_given_or_the_mentions_or_the_poles(tiny: LM) -> None:
    dipole = load_dipole("paper_clips")
    found = Pool().fit(tiny, dipole).language
    assert isinstance(found, Labels)
    assert found.labels == (*dipole.mentions.claim, *dipole.mentions.against)
    assert Pool().fit(tiny, TEA).language == Labels((TEA.claim, TEA.against))
    one_sided = Dipole(TEA.claim, TEA.against, mentions=Mentions(("tea",)))
    assert Pool().fit(tiny, one_sided).language == Labels((TEA.claim, TEA.against))
    made = Pool(("yes", "no, thanks"), ".", "global", False, "N/A").fit(tiny, None)
    assert made.language == Labels(("yes", "no, thanks"), ".")
    assert (made.sampling, made.count_end, made.prior) == ("global", False, "N/A")
    assert Pool(("yes", "no")).fit(tiny, TEA).language == Labels(("yes", "no"))


def test_what_cannot_be_said_is_refused_before_anything_is_written(tiny: LM, source: str) -> None:
    with pytest.raises(UserError, match="give labels=…, or a dipole"):
        Pool().fit(tiny)
    with pytest.raises(UserError, match="'a' is given twice"):
        Pool(("a", "a"))
    with pytest.raises(UserError, match="Label 2 of 2 is empty"):
        Pool(("a", ""))
    with pytest.raises(UserError, match="sampling must be"):
        Pool(("a",), sampling="greedy")
    with pytest.raises(UserError, match="list of texts"):
        Pool("yes")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="Global normalisation needs labels"):
        Quotes((source,), sampling="global").fit(tiny)
    with pytest.raises(UserError, match="no 30 words in a row"):
        Quotes((source,), 30).fit(tiny)
    with pytest.raises(UserError, match=r"no file .nowhere"):
        Quotes(("nowhere.txt",)).fit(tiny)
    with pytest.raises(UserError, match="min_words"):
        Patchwork((source,), 0)
    with pytest.raises(UserError, match="no blank"):
        Patchwork((source,), separator=" ")
    with pytest.raises(UserError, match="must differ"):
        Patchwork((source,), opening='"', closing='"')


@pytest.mark.parametrize("name", NAMES)
def test_a_wrong_concept_is_named(name: str, tiny: LM, source: str) -> None:
    class Mood:
        kind = "mood"

    given = {"quotes": {"source": source}, "patchwork": {"source": source}, "titles": {"titles": source}}
    with pytest.raises(UserError, match="mood"):
        resolve(CONTROLS, name)(**given.get(name, {})).fit(tiny, Mood())


@pytest.mark.parametrize("name", NAMES)
def test_every_field_has_its_help(name: str) -> None:
    assert all(option.help for option in options(resolve(CONTROLS, name)))


def test_sources_become_quotes(tiny: LM, source: str) -> None:
    for made in (Quotes(source), Patchwork((source,), 2), Patchwork((source,), 2, connective=True)):  # type: ignore[arg-type]
        pool = made.fit(tiny, TEA)
        for sample in pool.apply(tiny).generate("I think “", n=3, max_new_tokens=12):
            segments = pool.language.attribute(sample.text, sample.prompt)  # type: ignore[attr-defined]
            assert segments
            assert {s.document for s in segments} == {"source.txt"}


def test_titles_become_links(tiny: LM, tmp_path: Path) -> None:
    (tmp_path / "titles.tsv").write_text("Tea\t/tea\nCoffee\n", "utf-8")
    pool = Titles(str(tmp_path / "titles.tsv")).fit(tiny)
    texts = {
        s.text.split("]")[0] + "]" for s in pool.apply(tiny).generate("I like [", n=8, max_new_tokens=12)
    }
    assert texts <= {"Tea]", "Coffee]"}


def test_a_schema_is_given_or_in_a_file(tiny: LM, tmp_path: Path) -> None:
    pytest.importorskip("llguidance")
    (tmp_path / "schema.json").write_text('{"enum": ["tea", 3]}')
    for schema in ('{"enum": ["tea", 3]}', str(tmp_path / "schema.json")):
        lm = Grammar(json_schema=schema).fit(tiny).apply(tiny)
        assert {s.text for s in lm.generate("", n=6, max_new_tokens=8)} <= {'"tea"', "3"}
    with pytest.raises(UserError, match=r"no file .nowhere"):
        Grammar(json_schema="nowhere.json").fit(tiny)
