"""What the docs say to type in Python runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest


def test_the_verbs_run_as_they_are_written(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (repository / "docs" / "verbs.md").read_text("utf-8")
    monkeypatch.chdir(tmp_path)
    exec(compile("\n".join(re.findall(r"```python\n(.*?)```", page, re.S)), "verbs.md", "exec"), {})
    printed = capsys.readouterr().out
    for words in (
        "boost, on the logits surface, at any strength",
        "perplexity ratio",
        "boost: At strength 1",
        "log-odds  probability  text",
        "leads in",
    ):
        assert words in printed
    assert (tmp_path / "runs" / "boost" / "comparison.json").is_file()
    assert (tmp_path / "runs" / "topics" / "topics.html").is_file()
