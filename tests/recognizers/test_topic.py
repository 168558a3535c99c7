"""Topic models: scikit-learn's numbers, by hand and after loading; the score; what is refused."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from sklearn.decomposition import LatentDirichletAllocation
from sklearn.feature_extraction.text import CountVectorizer

from dipole.corpora.corpus import Document
from dipole.protocols import Recognizer
from dipole.recognizers import TopicModel, TopicScore, lda
from dipole.recognizers._topic_folder import read_training
from dipole.recognizers.lda import Settings
from dipole.types import DipoleWarning, UserError
from reference import lda as reference
from themes import THEMES, documents
from tolerance import EXACT, POSTERIOR

FAST = Settings(n_topics=3, iterations=12, restarts=2)


@pytest.fixture(scope="module")
def model() -> TopicModel:
    return TopicModel.fit(documents(), FAST)


def named(model: TopicModel, theme: str) -> int:
    return model.choose(words=THEMES[theme])


def test_words_are_those_of_scikit_learn() -> None:
    texts = [d.text for d in documents(30)] + ["murder and the sea", "the rare zebra"]
    counts, vocabulary, all_words = lda.count_words(iter(texts), Settings(2, min_df=3, max_df=0.3))
    direct = CountVectorizer(stop_words="english", min_df=3, max_df=0.3)  # of English it has the same words
    assert (counts != direct.fit_transform(texts)).nnz == 0
    assert vocabulary == tuple(direct.get_feature_names_out())
    assert all_words == 24 + 3


def test_only_the_words_that_most_documents_have() -> None:
    texts = ["sea ship", "sea ship storm", "sea rose rose rose rose", "sea storm rose ship", "tree tree tree"]
    counts, vocabulary, _ = lda.count_words(texts, Settings(2, max_words=2, min_df=1))
    assert vocabulary == ("sea", "ship")
    assert counts.toarray().tolist() == [[1, 1], [1, 1], [1, 0], [1, 1], [0, 0]]


def test_an_iteration_is_one_of_scikit_learns_batch_form() -> None:
    counts = lda.count_words((d.text for d in documents()), FAST)[0]
    start = lda._Start(counts, FAST, seed=7)
    for _ in range(5):
        start.step()
    direct = LatentDirichletAllocation(3, max_iter=5, mean_change_tol=1e-2, random_state=7).fit(counts)
    np.testing.assert_allclose(start.components, direct.components_, rtol=EXACT, atol=EXACT)
    assert start.bound() == direct.score(counts)


def test_the_start_with_the_best_bound_runs_on() -> None:
    counts = lda.count_words((d.text for d in documents()), FAST)[0]
    settings, seen = Settings(3, iterations=6, restarts=4, seed=5, race=1 / 3), []
    found = lda.fit_lda(counts, settings, lambda *progress: seen.append(progress))
    single = [
        LatentDirichletAllocation(3, max_iter=2, mean_change_tol=1e-2, random_state=5 + k) for k in range(4)
    ]
    bounds = [lda.fit(counts).score(counts) for lda in single]
    assert found.bounds == tuple(bounds)
    assert found.seeds == (5, 6, 7, 8)
    assert found.kept == int(np.argmax(bounds))
    best = LatentDirichletAllocation(3, max_iter=6, mean_change_tol=1e-2, random_state=5 + found.kept)
    assert np.array_equal(found.components, best.fit(counts).components_)
    assert found.bound == best.score(counts)
    assert [told[:3] for told in seen] == [("iteration", i, 12) for i in range(1, 13)]
    assert [i for _, i, _, note in seen if note == "a new start"] == [1, 3, 5, 7]
    assert seen[-1][3] == f"topics moved {100 * found.moved:.3f}%"
    assert found.moved < 1


def test_in_batches() -> None:
    counts = lda.count_words((d.text for d in documents()), FAST)[0]
    settings = Settings(3, iterations=3, restarts=1, batch=16)
    direct = LatentDirichletAllocation(
        3,
        learning_method="online",
        max_iter=3,
        batch_size=16,
        total_samples=60,
        mean_change_tol=1e-2,
        random_state=0,
    )
    assert np.array_equal(lda.fit_lda(counts, settings).components, direct.fit(counts).components_)


def test_posterior_by_hand(model: TopicModel) -> None:
    texts = ["The captain found a clue on the ship, a clue!", "roses and a rose", "Nothing known."]
    theta = model.posterior(iter(texts))
    for text, row in zip(texts, theta, strict=True):
        counts = model.count([text]).toarray()[0].tolist()
        by_hand = reference.posterior(counts, model.components.tolist(), 1 / 3)
        np.testing.assert_allclose(row, by_hand, rtol=POSTERIOR, atol=POSTERIOR)
    assert theta.dtype == np.float64
    assert theta.shape == (3, 3)
    np.testing.assert_allclose(theta[2], 1 / 3, rtol=POSTERIOR)


def test_posterior_alone_and_in_a_list(model: TopicModel, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [d.text for d in documents(7, words=5, seed=1)] + ["", "murder on the ship"]
    together = model.posterior(texts)
    alone = np.concatenate([model.posterior([text]) for text in texts])
    assert np.array_equal(together, alone)
    monkeypatch.setattr("dipole.recognizers.topic._BATCH", 4)
    assert np.array_equal(model.posterior(texts), together)
    assert [s.value for s in TopicScore(model, 1).score(texts)][:7] == lda.log_odds(together, 1)[:7].tolist()
    assert model.posterior([]).shape == (0, 3)


def test_topics_are_the_themes(model: TopicModel) -> None:
    for theme, words in THEMES.items():
        topic = model.topic(named(model, theme), n=8)
        assert set(topic.words) == set(words)
        leads = [d.id.startswith(theme) for d in documents()]
        assert model.training is not None
        assert (model.training.theta.argmax(1) == topic.index).tolist() == leads
    assert model.training.ids == tuple(d.id for d in documents())
    rows = lda.word_distributions(model.components)
    np.testing.assert_allclose(rows.sum(1), 1, rtol=POSTERIOR)
    top = model.top_words(0)
    assert [p for _, p in top] == sorted((p for _, p in top), reverse=True)
    assert top[0][1] == rows[0].max()
    np.testing.assert_allclose(model.shares, model.training.theta.mean(0), rtol=EXACT)


def test_the_same_seed_gives_the_same_topics(model: TopicModel) -> None:
    again = TopicModel.fit(iter(documents()), FAST)
    assert np.array_equal(again.components, model.components)
    other = TopicModel.fit(documents(), Settings(3, 12, 2, seed=40))
    assert not np.array_equal(other.components, model.components)


def test_score_is_the_log_odds_of_the_share(model: TopicModel) -> None:
    crime = named(model, "crime")
    recognizer = TopicScore(model, crime)
    assert isinstance(recognizer, Recognizer)
    texts = ["A murder, and a clue.", "A ship in a storm.", "Perhaps.", "murder on a ship", ""]
    scores = recognizer.score(texts)
    share = model.posterior(texts)[:, crime]
    for k in (0, 1, 3):
        assert scores[k].value == pytest.approx(math.log(share[k] / (1 - share[k])), rel=POSTERIOR)
        assert scores[k].reason is None
    assert scores[0].value > 1 > -1 > scores[1].value
    for k in (2, 4):
        assert not scores[k].is_scored
        assert scores[k].reason == "has no word that the topic model knows"
    assert recognizer.score(texts, "any concept")[:2] == scores[:2]
    assert recognizer.concept.index == crime
    with pytest.raises(UserError, match="one string"):
        recognizer.score("murder")


def test_log_odds_near_one() -> None:
    tiny = 1e-20
    assert lda.log_odds(np.array([[1.0, tiny, tiny]]), 0)[0] == pytest.approx(-math.log(2 * tiny))


def test_choose(model: TopicModel) -> None:
    crime, sea = named(model, "crime"), named(model, "sea")
    assert crime != sea
    assert model.choose(examples=["Murder! A thief and a clue.", "no such word"]) == crime
    # Two votes of three texts: the mean share, not the longest text.
    assert model.choose(examples=["ship", "storm wave", "rose " * 9]) == sea
    with pytest.warns(DipoleWarning, match="does not know 'kraken'"):
        assert model.choose(words=["ship", "Storm", "kraken"]) == sea
    # One word out of place does not outweigh two.
    assert model.choose(words=["murder", "ship", "storm"]) == sea
    for arguments in ({}, {"words": ["ship"], "examples": ["ship"]}):
        with pytest.raises(UserError, match="one of the two"):
            model.choose(**arguments)
    with pytest.raises(UserError, match="no word of 'kraken'"):
        model.choose(words=["kraken"])


def test_loaded_is_what_was_saved(model: TopicModel, tmp_path: Path) -> None:
    model.save(tmp_path)
    assert {p.suffix for p in tmp_path.iterdir()} == {".json", ".jsonl", ".safetensors"}
    loaded = TopicModel.load(tmp_path)
    texts = [d.text for d in documents(9, seed=3)]
    assert np.array_equal(loaded.posterior(texts), model.posterior(texts))
    assert np.array_equal(loaded.posterior([d.text for d in documents()]), model.training.theta)
    for name in ("settings", "seeds", "bounds", "kept", "bound", "moved", "vocabulary", "priors"):
        assert getattr(loaded, name) == getattr(model, name), name
    assert np.array_equal(loaded.shares, model.shares)
    assert loaded.training is None
    assert loaded.topic(0).source == str(tmp_path)
    training = read_training(tmp_path)
    assert training.ids == model.training.ids
    assert np.array_equal(training.theta, model.training.theta)
    assert TopicModel.load(tmp_path, training=True).training.ids == training.ids
    scorer = TopicScore.load(tmp_path, "1")
    assert scorer.score(texts) == TopicScore(model, 1).score(texts)


@pytest.mark.parametrize(
    ("item", "said"),
    [
        (None, "holds 3 topics; say which one"),
        ("3", r":3: the model has topics 0 to 2\.$"),
        ("-1", "'-1' is no number of a topic"),
        ("crime", "'crime' is no number"),
        ("", "'' is no number"),
        ("\u0663", "is no number"),
    ],
)
def test_no_such_item(model: TopicModel, tmp_path: Path, item: str | None, said: str) -> None:
    model.save(tmp_path)
    with pytest.raises(UserError, match=said):
        TopicScore.load(tmp_path, item)


def test_damaged_folders(model: TopicModel, tmp_path: Path) -> None:
    def refused(change: str, said: str) -> None:
        model.save(tmp_path)
        words, numbers = tmp_path / "topics.json", tmp_path / "topics.safetensors"
        facts, tensors = json.loads(words.read_text()), load_file(numbers)
        if change == "no words":
            words.unlink()
        elif change == "no numbers":
            numbers.unlink()
        elif change == "no JSON":
            words.write_text("{")
        elif change == "cut":
            numbers.write_bytes(numbers.read_bytes()[:100])
        elif change == "vocabulary":
            facts["vocabulary"].reverse()
        elif change == "settings":
            del facts["settings"]["seed"], facts["bounds"]
        elif change == "format":
            facts["format"] = 2
        elif change == "shape":
            tensors["components"] = tensors["components"][:, 1:].copy()
        elif change == "sign":
            tensors["components"][0, 0] = -1
        elif change == "dtype":
            tensors["shares"] = tensors["shares"].astype(np.float32)
        if change in ("vocabulary", "settings", "format"):
            words.write_text(json.dumps(facts))
        if change in ("shape", "sign", "dtype"):
            save_file(tensors, numbers)
        with pytest.raises(UserError, match=said):
            TopicModel.load(tmp_path)

    refused("no words", "There is no file .*topics.json")
    refused("no numbers", "can't be read")
    refused("no JSON", "is no JSON")
    refused("cut", "topics.safetensors can't be read")
    refused("vocabulary", "not the one that the model was fitted with")
    refused("settings", "settings has no 'seed'")
    refused("format", "format must be one of 1, and is 2")
    refused("shape", r"components has shape \(3, 23\), and \(3, 24\) is wanted")
    refused("sign", "not those of a topic model")
    refused("dtype", "shares is of type F32, and F64 is wanted")


def test_bad_corpora() -> None:
    def refused(texts: list[str], said: str, n_topics: int = 2) -> None:
        with pytest.raises(UserError, match=said):
            TopicModel.fit([Document(str(i), text) for i, text in enumerate(texts)], Settings(n_topics, 2))

    refused(["murder clue"], "1 document can't be told apart into 2 topics")
    refused(["murder clue"] * 4, "4 documents can't be told apart into 5", n_topics=5)
    refused(["the and of"] * 4, "stop words and signs alone")
    refused([], "stop words and signs alone")
    refused(["one alpha", "two beta", "three gamma"], "Too few words are left to count: 0 of 3")
    refused(["same words"] * 5, "Too few words are left")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"n_topics": 1}, "at least 2 topics"),
        ({"iterations": 0}, "iterations must be at least 1"),
        ({"restarts": 0}, "restarts must be at least 1"),
        ({"seed": -1}, "seed must be"),
        ({"seed": 2**32 - 1}, "seed must be"),
        ({"race": 0.0}, "race and max_df"),
        ({"max_df": 1.5}, "race and max_df"),
        ({"batch": -1}, "batch must be"),
        ({"max_words": -1}, "max_words must be"),
    ],
)
def test_bad_settings(settings: dict[str, float], said: str) -> None:
    with pytest.raises(UserError, match=said):
        Settings(**settings)


def test_coherence_by_hand() -> None:
    texts = ["sea ship", "sea ship storm", "sea rose", "rose", "rose storm tree", "tree lion"]
    texts = [text + " lamp oil" for text in texts]
    counts, vocabulary, _ = lda.count_words(texts, Settings(2, max_df=1.0, min_df=1))
    groups = [["sea", "ship", "storm"], ["rose", "tree"], ["lion", "ship", "rose"], ["lamp", "oil", "sea"]]
    found = lda.coherence(counts, [[vocabulary.index(word) for word in group] for group in groups])
    by_hand = [reference.npmi([set(text.split()) for text in texts], group) for group in groups]
    np.testing.assert_allclose(found, by_hand, rtol=POSTERIOR)


def test_relevance_by_hand() -> None:
    components, shares = np.array([[6.0, 3.0, 1.0], [1.0, 1.0, 8.0]]), np.array([0.25, 0.75])
    found = lda.relevance(components, shares, weight=0.6)
    everywhere = 0.25 * 0.3 + 0.75 * 0.1
    by_hand = 0.6 * math.log(0.3) + 0.4 * math.log(0.3 / everywhere)
    assert found[0, 1] == pytest.approx(by_hand, rel=POSTERIOR)
    assert found.shape == (2, 3)


def test_movement() -> None:
    before = np.array([[1.0, 1.0, 2.0], [3.0, 1.0, 0.0]])
    assert lda.movement(before, before * [[5.0], [7.0]]) == pytest.approx(0, abs=POSTERIOR)
    after = np.array([[2.0, 1.0, 1.0], [3.0, 1.0, 0.0]])
    assert lda.movement(before, after) == pytest.approx(0.125)
