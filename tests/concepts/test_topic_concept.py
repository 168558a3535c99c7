"""The topic concept."""

from __future__ import annotations

from typing import Any

import pytest

from dipole.concepts import Topic
from dipole.protocols import Concept
from dipole.types import UserError


def test_there_and_back() -> None:
    topic = Topic(words=("murder", "clue", "inspector", "night"), index=3, source="topics")
    assert topic.name == topic.label == "murder, clue, inspector"
    assert isinstance(topic, Concept)
    assert topic.to_dict()["kind"] == "topic"
    assert Topic.from_dict(topic.to_dict()) == topic
    assert Topic.from_dict({"words": ["sea"]}) == Topic("sea", ("sea",))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({}, "no `words`"),
        ({"words": [" "]}, "no `words`"),
        ({"words": "murder"}, "list of texts"),
        ({"words": ["sea"], "index": -1}, "`index`"),
        ({"words": ["sea"], "index": True}, "`index`"),
        ({"words": ["sea"], "index": "3"}, "`index`"),
        ({"words": ["sea"], "name": 3}, "`name`"),
        ({"words": ["sea"], "word": 3}, "Did you mean 'words'"),
        ({"words": ["sea"], "kind": "dipole"}, "wanted a topic"),
        (["sea"], "is a list"),
    ],
)
def test_bad_data(data: Any, said: str) -> None:
    with pytest.raises(UserError, match=said):
        Topic.from_dict(data)
