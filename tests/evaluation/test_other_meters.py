"""Meters that are not ours: in the effect, in every JSON, in every report, by entry point and by flag."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest

from dipole import load, plugins
from dipole.cli import run
from dipole.concepts import load_dipole
from dipole.evaluation.bench import COSTS, TOWARDS, families_of, made_for
from dipole.evaluation.compare import compare
from dipole.evaluation.families import compare_controls, comparison_to_dict
from dipole.evaluation.meters.protocol import Direction, Judge, Subject
from dipole.evaluation.meters.recognizers import ways
from dipole.evaluation.serialise import effect_from_dict, effect_to_dict
from dipole.lm import LM
from dipole.recognizers.velma import Velma
from dipole.report import write_report
from dipole.report.comparison import write_comparison
from dipole.types import Sample, UserError
from evaluation import fakes
from evaluation.fakes import DIPOLE, Letters

MODULE = '''
from dipole.evaluation.meters.protocol import Quantity

def vowels(subject):
    """Of the completions, and whether they are longer than the base's, of which the control is told."""
    base = max(len(s.text) for s in subject.samples)
    return [
        Quantity("vowels", "vowels <of all letters>", "share", "none",
                 lambda lm, samples: [(sum(c in "aeiou" for c in s.text), len(s.text)) for s in samples]),
        Quantity("signed", "sign of the strength", "", "higher",
                 lambda lm, samples: [subject.strength * (base > 0) for _ in samples],
                 in_loop="velma" in subject.optimised),
    ]
'''


@dataclass(frozen=True)
class Longest:
    """Nothing but the protocol."""

    name: ClassVar[str] = "longest"
    label: ClassVar[str] = "length of the longest word"
    unit: ClassVar[str] = "letters"
    direction: ClassVar[Direction] = "lower"
    in_loop: ClassVar[bool] = False

    def measure(self, lm: LM, samples: Sequence[Sample]) -> list[float]:
        return [longest(s.text) for s in samples]


def longest(text: str) -> float:
    return float(max((len(word) for word in text.split()), default=0)) or float("nan")


@pytest.fixture
def stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Another package, installed."""
    (tmp_path / "strange_meters.py").write_text(MODULE, encoding="utf-8")
    folder = tmp_path / "strange_meters-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: strange-meters\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text("[dipole.meters]\nvowels = strange_meters:vowels\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    plugins.entry_points_of.cache_clear()
    yield
    plugins.entry_points_of.cache_clear()


def test_a_meter_of_another_is_in_the_effect_its_json_and_its_report(tmp_path: Path) -> None:
    before, after, _ = fakes.changed()
    effect = compare(before, after, DIPOLE, n=8, max_new_tokens=8, meters=[Longest(), Letters("i")])
    old, new = ([longest(s.text) for s in part] for part in (effect.samples_before, effect.samples_after))
    pairs = [(a, b) for a, b in zip(old, new, strict=True) if a == a and b == b]
    change = effect["longest"]
    assert change.before is not None
    assert change.difference is not None
    assert change.before.mean == pytest.approx(np.mean([a for a, _ in pairs]))
    assert change.after.mean == pytest.approx(np.mean([b for _, b in pairs]))
    assert change.difference.low < change.difference.mean < change.difference.high
    assert (change.n, change.unscored, change.unit) == (len(pairs), 8 - len(pairs), "letters")
    assert "letters_log_odds" in {c.name for c in effect.changes}
    assert effect_from_dict(json.loads(json.dumps(effect_to_dict(effect))))["longest"] == change
    write_report(tmp_path, effect, (), {})
    for name in ("report.md", "report.html"):
        assert "length of the longest word" in (tmp_path / name).read_text(encoding="utf-8")


@pytest.mark.usefixtures("stranger")
def test_meters_of_an_entry_point_are_in_a_comparison_its_json_and_its_report(tmp_path: Path) -> None:
    lm, _, adapter = fakes.changed()
    found = compare_controls(
        lm, DIPOLE, [("lora", adapter)], strengths=(-1,), n=6, repeats=2, max_new_tokens=6, meters=["vowels"]
    )  # fmt: skip
    one = found["lora"].at(1.0)
    assert one is not None
    text = "".join(s.text for s in found.samples)
    single = compare(lm, adapter.apply(lm), DIPOLE, n=6, max_new_tokens=6, meters=["vowels", "length"])
    assert single["vowels"].before is not None
    assert single["vowels"].before.mean == pytest.approx(sum(c in "aeiou" for c in text) / len(text))
    assert [c.name for c in single.changes].count("mean_length") == 1
    assert one["vowels"].n == 12
    assert one["signed"].after.mean == 1.0
    assert found["lora"].at(-1.0)["signed"].after.mean == -1.0  # type: ignore[index]
    assert found.settings["meters"] == ["vowels", "signed"]
    data = comparison_to_dict(found)
    assert {"vowels", "signed"} <= {c["name"] for c in data["curves"][0]["points"][0]["changes"]}
    write_comparison(tmp_path, found, {})
    html, markdown = ((tmp_path / f"report.{kind}").read_text(encoding="utf-8") for kind in ("html", "md"))
    assert "<h2>Other meters</h2>" in html
    assert "vowels &lt;of all letters&gt;" in html
    assert "## Other meters" in markdown
    assert f"{100 * one['vowels'].after.mean:.1f}%" in markdown.split("## Other meters")[1].split("##")[0]


@pytest.mark.usefixtures("stranger")
def test_what_a_control_optimised_is_told_to_meters_of_others() -> None:
    from dipole.controls.best_of import BestOf

    lm, _, adapter = fakes.changed()
    controls = [BestOf(n=2), ("lora", adapter)]
    found = compare_controls(lm, DIPOLE, controls, n=2, max_new_tokens=4, meters=["vowels"])
    marked = {label: found[label].at(1.0)["signed"].in_loop for label in ("best_of", "lora")}  # type: ignore[index]
    assert marked == {"best_of": True, "lora": False}


@pytest.mark.usefixtures("stranger")
def test_meters_of_others_are_asked_for_by_flag(capsys: pytest.CaptureFixture[str]) -> None:
    asked = [
        "sweep",
        "cfg",
        "--strengths",
        "1",
        "--dipole",
        "paper_clips",
        "-n",
        "2",
        "--max-new-tokens",
        "2",
    ]
    assert run([*asked, "--meter", "vowels", "--quiet", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["settings"]["meters"] == ["vowels", "signed"]
    assert run([*asked, "--meter", "vowels", "--quiet"]) == 0
    assert "vowels <of all" in capsys.readouterr().out
    assert run([*asked, "--meter", "vowel", "--quiet"]) == 2
    said = capsys.readouterr().err
    assert "There is no meter called 'vowel'. Did you mean 'vowels'?" in said
    assert "sides" in said


def test_without_other_packages_the_name_is_unknown() -> None:
    before, after, _ = fakes.changed()
    with pytest.raises(UserError, match="no meter called 'vowels'"):
        compare(before, after, DIPOLE, n=2, meters=["vowels"])


def test_what_is_no_meter_is_refused() -> None:
    before, after, _ = fakes.changed()
    unnamed: Any = SimpleNamespace(name="odd", measure=lambda lm, samples: [0.0 for _ in samples])
    with pytest.raises(UserError, match=r"has name, label, unit, direction.*'odd'.*lacks some of them"):
        compare(before, after, DIPOLE, n=2, max_new_tokens=2, meters=[unnamed])


def test_the_page_lists_every_meter_as_it_declares_itself() -> None:
    page = (Path(__file__).parents[2] / "docs" / "meters.md").read_text(encoding="utf-8")
    listed = [line for line in page.splitlines() if line.startswith("| `")]
    lm = load("tiny", device="cpu")
    dipole = load_dipole("paper_clips")
    subject = Subject(lm, dipole, lm.generate(dipole.held_out, max_new_tokens=20), (Judge(Velma(lm)),))
    families = [*families_of(TOWARDS), partial(ways, tolerance=0.05), *families_of(COSTS)]
    meters = made_for(families, subject)
    assert listed == [f"| `{m.name}` | {m.label} | {m.unit or '–'} | {m.direction} |" for m in meters]


def test_the_page_shows_a_meter_that_works(capsys: pytest.CaptureFixture[str]) -> None:
    page = (Path(__file__).parents[2] / "docs" / "meters.md").read_text(encoding="utf-8")
    own, family = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names: dict[str, Any] = {"__name__": __name__}
    exec(own, names)
    counts = [sample.text.count("?") for sample in names["effect"].samples_after]
    assert float(capsys.readouterr().out) == np.mean(counts)
    exec(family, names)
    meter = names["vowels"](None)[0]
    assert meter.measure(None, [fakes.sample("A tea")]) == [(2, 5)]
