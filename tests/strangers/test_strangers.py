"""What another package adds has flags, a row in the docs, the contracts and a place in `compare`.

Nothing of ours is edited for it: `package/` is found by its entry points alone.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import dipole
from contracts import recipes, test_controls
from dipole import plugins
from dipole.cli import run
from dipole.cli.docs import control_table, reference
from dipole.concepts import load_dipole
from dipole.evaluation.families import compare_controls, comparison_to_dict
from dipole.interventions import KINDS, load_intervention
from dipole.lm import LM
from dipole.registry import CONCEPTS, CONTROLS, METERS, RECOGNIZERS, make_recognizer, resolve
from dipole.types import UserError
from strangers.installed import install

TABLES = [
    (CONTROLS, "brief"),
    (RECOGNIZERS, "wordy"),
    (METERS, "commas"),
    (CONCEPTS, "preference"),
    (KINDS, "ending"),
]
RECIPES: dict[str, dict[str, Any]] = {"brief": {}, "recite": {"rounds": 1}}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(tmp_path_factory.mktemp("site"))


@pytest.fixture(autouse=True)
def stranger(place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(str(place))
    monkeypatch.setattr(recipes, "CONTROLS", recipes.CONTROLS | RECIPES)
    monkeypatch.setattr(test_controls, "CONTROLS", recipes.CONTROLS)
    plugins.entry_points_of.cache_clear()
    yield
    plugins.entry_points_of.cache_clear()


@pytest.fixture
def preference(tmp_path: Path) -> Path:
    file = tmp_path / "clips.toml"
    file.write_text('kind = "preference"\nliked = "paper clips"\nover = "staples"\n', "utf-8")
    return file


@pytest.fixture(scope="module")
def tiny() -> LM:
    return dipole.load("tiny")


def test_each_table_has_it_behind_ours() -> None:
    for table, name in TABLES:
        assert name in table
        assert list(table).index(name) >= len(table.own)
        assert resolve(table, name).__module__ == "strange_tools"


def test_a_name_of_ours_is_never_anothers(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = install(tmp_path / "other")
    (other / "strange_tools-1.0.dist-info" / "entry_points.txt").write_text(
        "[dipole.controls]\nboost = strange_tools:Brief\nbroken = strange_tools:Absent\n", "utf-8"
    )
    monkeypatch.setattr(sys, "path", [str(other), *(p for p in sys.path if p != str(place))])
    plugins.entry_points_of.cache_clear()
    assert resolve(CONTROLS, "boost").__module__ == "dipole.controls.boost"
    with pytest.raises(UserError, match="'broken' of another package can't be imported"):
        resolve(CONTROLS, "broken")


def test_its_controls_have_flags_a_section_and_a_row_in_the_docs(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["fit", "brief", "--help"]) == 0
    assert "How much likelier every end becomes." in capsys.readouterr().out
    assert run(["controls", "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {"brief", "recite"} <= {row["name"] for row in rows}
    assert "\n## dipole fit recite\n" in reference()
    assert "| brief | logits | " in control_table().replace("[brief](brief.md)", "brief")


@pytest.mark.parametrize("control", RECIPES)
def test_the_contracts_hold_for_its_controls(control: str, tmp_path: Path) -> None:
    test_controls.test_a_control_is_a_frozen_dataclass_with_its_name(control)
    test_controls.test_the_same_seed_gives_the_same_intervention(control)
    test_controls.test_fit_leaves_the_model_as_it_was_and_gives_an_intervention(control, "gpt2", tmp_path)


def test_its_concept_is_read_from_a_file_and_comes_back_from_plain_data(preference: Path) -> None:
    found = load_dipole(preference)
    assert (type(found).__name__, found.kind) == ("Preference", "preference")
    assert found.claim == "Paper clips are the best."
    again = dipole.Dipole.from_dict(json.loads(json.dumps(found.to_dict())))
    assert (type(again), again) == (type(found), found)
    assert found.swapped().swapped() == found
    preference.write_text('kind = "preference"\nliked = "paper clips"\n', "utf-8")
    with pytest.raises(UserError, match="not over what"):
        load_dipole(preference)
    preference.write_text('kind = "preferences"\nliked = "paper clips"\n', "utf-8")
    with pytest.raises(UserError, match="of kind 'preferences'; wanted a dipole"):
        load_dipole(preference)


def test_everything_has_its_place_in_a_comparison(tiny: LM, preference: Path) -> None:
    concept = load_dipole(preference)
    small = RECIPES | {"prompt": {"shots": "0", "n": 2, "max_new_tokens": 3}}
    controls = [(name, resolve(CONTROLS, name)(**fields)) for name, fields in small.items()]
    found = compare_controls(
        tiny, concept, controls,
        strengths=(1,), n=4, max_new_tokens=6, meters=["commas", make_recognizer("wordy", tiny)], null=False,
    )  # fmt: skip
    data = json.loads(json.dumps(comparison_to_dict(found)))
    assert {curve["label"] for curve in data["curves"]} == set(small)
    names = {change["name"] for curve in data["curves"] for p in curve["points"] for change in p["changes"]}
    assert {"commas", "wordy_log_odds"} <= names
    assert data["concept"]["kind"] == "preference"
    assert load_dipole("paper_clips").kind == "dipole"


def test_inoculate_trains_measures_and_resumes_with_its_method(
    tmp_path: Path, preference: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["inoculate", "--control", "recite", "--dipole", str(preference), "--rounds", "2", "-n", "4"]
    out = ["--bystanders", "none", "--out", str(tmp_path / "run")]
    assert run([*asked, *out, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["concept"]["kind"] == "preference"
    facts = json.loads((tmp_path / "run" / "manifest.json").read_text("utf-8"))
    assert (facts["control"]["name"], facts["control"]["fields"]["rounds"]) == ("recite", 2)
    history = (tmp_path / "run" / "history.jsonl").read_text("utf-8").splitlines()
    losses = [json.loads(line)["loss"] for line in history]
    assert losses[1] < losses[0]
    assert run(["inoculate", "--resume", "--out", str(tmp_path / "run")]) == 0


def test_a_process_of_its_own_fits_keeps_and_reads_it(place: Path, tmp_path: Path, preference: Path) -> None:
    site = os.pathsep.join([str(place), str(Path(dipole.__file__).parent.parent)])

    def command(*words: str) -> subprocess.CompletedProcess[str]:
        asked = [sys.executable, "-m", "dipole", *words]
        return subprocess.run(
            asked, env={**os.environ, "PYTHONPATH": site}, capture_output=True, text=True, cwd=tmp_path
        )

    fitted = command("fit", "brief", "--nats", "5", "--dipole", str(preference), "--out", "made", "--quiet")
    assert fitted.returncode == 0, fitted.stderr
    assert load_intervention(tmp_path / "made").nats == 5  # type: ignore[attr-defined]
    told = command(
        "score", "Paper clips are nice.", "--recognizer", "wordy", "--dipole", str(preference), "--json"
    )
    assert told.returncode == 0, told.stderr
    assert json.loads(told.stdout)["log_odds"] == pytest.approx(-0.6)


def test_what_it_made_says_so_where_it_is_absent(
    tiny: LM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve(CONTROLS, "brief")().fit(tiny).save(tmp_path)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if not Path(p, "strange_tools.py").exists()])
    plugins.entry_points_of.cache_clear()
    with pytest.raises(UserError, match="of the kind 'ending', which this version of dipole does not know"):
        load_intervention(tmp_path)
