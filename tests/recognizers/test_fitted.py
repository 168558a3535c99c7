"""Fitted recognizers by the name of their folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dipole.recognizers import TopicModel, TopicScore
from dipole.recognizers.fitted import FITTED, is_fitted, load_fitted, split
from dipole.recognizers.lda import Settings
from dipole.types import UserError
from themes import documents


def no_model(name: str) -> Any:
    raise AssertionError("a topic needs no language model")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("fitted") / "topics"
    made.mkdir()
    TopicModel.fit(documents(), Settings(n_topics=3, iterations=4, restarts=1)).save(made)
    return made


def test_a_topic(folder: Path) -> None:
    found = load_fitted(f"{folder}:2", no_model)
    assert isinstance(found, TopicScore)
    assert found.index == 2


def test_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("topics", "odd:2"):
        Path(name).mkdir()
    assert split("topics") == (Path("topics"), None)
    assert split("topics:3") == (Path("topics"), "3")
    assert split("odd:2") == (Path("odd:2"), None)
    assert split("odd:2:1") == (Path("odd:2"), "1")
    assert is_fitted("topics")
    assert is_fitted("absent:3")
    assert is_fitted("./absent")
    assert not is_fitted("velmo")
    assert not is_fitted(" ")


def test_refusals(folder: Path, tmp_path: Path) -> None:
    def refused(spec: str, said: str) -> None:
        with pytest.raises(UserError, match=said) as caught:
            load_fitted(spec, no_model)
        assert "\n" not in str(caught.value)

    refused(f"{tmp_path}/absent:3", "There is no recognizer called .*absent:3")
    refused(":3", "There is no recognizer called ':3'")
    refused(str(tmp_path), "holds no fitted recognizer")
    refused(str(folder), "say which one")
    refused(f"{folder}:30", "the model has topics 0 to 2")
    (tmp_path / "recognizer.json").write_text("{")
    refused(str(tmp_path), "can't be read")
    for kind in ("vibe", None, ["topic"]):
        (tmp_path / "recognizer.json").write_text(json.dumps({"kind": kind}))
        refused(str(tmp_path), "wanted topic or notion")
    (tmp_path / "recognizer.json").write_text("[]")
    refused(str(tmp_path), "of kind null")


def test_the_table() -> None:
    assert set(FITTED) >= {"topic", "notion"}
