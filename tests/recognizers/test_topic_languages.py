"""Topic models of other scripts: whole words, and models from before they had them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("sklearn")

from dipole.corpora.corpus import Document
from dipole.recognizers import TopicModel
from dipole.recognizers.lda import Settings
from dipole.types import UserError

THEMES = {
    "hindi": (["नदी", "पानी", "मछली", "नाव"], ["किताब", "लेखक", "पन्ना", "कहानी"], " "),
    "chinese": (["河流", "河水", "鱼儿", "小船"], ["书本", "作家", "故事", "书页"], "的"),
    "japanese": (["ボート", "河川", "魚類", "水泳"], ["ノート", "作家", "小説", "物語"], "と"),
    "thai": (["แม่น้ำ", "ปลา", "เรือ", "น้ำ"], ["หนังสือ", "นักเขียน", "หน้า", "เรื่อง"], " "),
}


def corpus(script: str) -> list[Document]:
    water, books, joiner = THEMES[script]
    return [
        Document(
            f"{k}",
            chr(0x4E8C + 3 * k) + joiner.join((water, books)[k % 2][(k // 2 + j) % 4] for j in range(3)),
        )
        for k in range(40)
    ]


@pytest.mark.parametrize("script", THEMES)
def test_topics_of_a_script_are_found(script: str) -> None:
    documents = corpus(script)
    model = TopicModel.fit(documents, Settings(2, iterations=20, restarts=2))
    theta = model.posterior(d.text for d in documents)
    assert (theta[::2].argmax(axis=1) == theta[0].argmax()).all()
    assert (theta[1::2].argmax(axis=1) != theta[0].argmax()).all()
    assert model.choose(words=THEMES[script][0]) == int(theta[0].argmax())


def test_hindi_words_are_whole() -> None:
    model = TopicModel.fit(corpus("hindi"), Settings(2, iterations=5, restarts=1))
    assert set(model.vocabulary) == {*THEMES["hindi"][0], *THEMES["hindi"][1]}


def test_how_words_are_cut_is_saved(tmp_path: Path) -> None:
    model = TopicModel.fit(corpus("hindi"), Settings(2, iterations=5, restarts=1))
    model.save(tmp_path)
    again = TopicModel.load(tmp_path)
    assert again.splitting == "unicode"
    assert again.count(["किताब नदी"]).sum() == 2


def test_a_model_from_before_keeps_its_way_of_cutting(tmp_path: Path) -> None:
    TopicModel.fit(corpus("hindi"), Settings(2, iterations=5, restarts=1)).save(tmp_path)
    file = tmp_path / "topics.json"
    facts = json.loads(file.read_text("utf-8"))
    del facts["splitting"]
    file.write_text(json.dumps(facts), "utf-8")
    assert TopicModel.load(tmp_path).count(["किताब नदी abc"]).sum() == 0  # its words were never whole
    file.write_text(json.dumps({**facts, "splitting": "other"}), "utf-8")
    with pytest.raises(UserError, match="splitting must be one of unicode, scikit-learn"):
        TopicModel.load(tmp_path)
