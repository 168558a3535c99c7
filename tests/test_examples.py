"""The programs of the README are those of `examples/`, word for word."""

from __future__ import annotations

import re
from pathlib import Path

import pytest


@pytest.mark.parametrize(("index", "name"), [(0, "inoculate.py"), (1, "compose.py")])
def test_the_readme_shows_the_examples(repository: Path, index: int, name: str) -> None:
    shown = re.findall(r"```python\n(.*?)```", (repository / "README.md").read_text("utf-8"), re.S)
    example = (repository / "examples" / name).read_text("utf-8")
    assert example.split('"""\n\n', 1)[1] == shown[index]


def test_the_example_that_trains_nothing_runs(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile((repository / "examples" / "compose.py").read_text("utf-8"), "compose.py", "exec"), {})
    printed = capsys.readouterr().out.splitlines()
    shown = (repository / "README.md").read_text("utf-8")
    # White space aside: the README breaks the longer lists.
    assert all("".join(line.split()) in "".join(shown.split()) for line in printed)
    assert len(printed) == 3
    assert (tmp_path / "runs" / "mixed" / "lm.json").is_file()
