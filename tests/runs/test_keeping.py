"""One call keeps any record; a folder that can't be used is refused before the work."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

import dipole
from dipole.concepts import load_dipole
from dipole.corpora.corpus import open_corpus
from dipole.evaluation.serialise import effect_from_dict
from dipole.interventions.prompt import Prefix
from dipole.lm import LM
from dipole.origin import Origin, fit_origin, origin
from dipole.recognizers.lda import Settings
from dipole.recognizers.mentions import Mentions
from dipole.runs import keeping, manifest
from dipole.types import UserError
from themes import documents

MOMENT = datetime(2026, 11, 21, 12, tzinfo=UTC)
LATER = datetime(2026, 11, 21, 12, 1, 5, 250_000, tzinfo=UTC)


def listed(folder: Path) -> tuple[dict[str, object], list[str]]:
    """The manifest, and what lies in the folder."""
    return json.loads((folder / "manifest.json").read_text("utf-8")), sorted(p.name for p in folder.iterdir())


def test_what_a_manifest_says() -> None:
    made = manifest(
        Origin({"verb": "x", "seeds": (1, 2)}, MOMENT, LATER, "cpu"), "out dir", ["/bin/dipole", "a b"]
    )
    assert (made["verb"], made["seeds"], made["out"]) == ("x", [1, 2], "out dir")
    assert (made["made_by"], made["format"], made["command"]) == ("dipole", 1, "dipole 'a b'")
    assert (made["started"], made["finished"]) == ("2026-11-21T12:00:00Z", "2026-11-21T12:01:05Z")
    assert made["seconds"] == 65.25
    assert made["machine"]["device"] == "cpu"
    assert made["machine"]["threads"] >= 1
    assert made["versions"]["scikit-learn"]
    assert manifest(Origin({}, MOMENT, LATER))["machine"]["threads"] is None
    with pytest.raises(UserError, match="already has out"):
        manifest(Origin({"out": "elsewhere"}, MOMENT, LATER))


def test_of_a_control_it_says_which_fields_were_changed(tiny: LM) -> None:
    made = fit_origin(
        Settings(n_topics=4), {"claim": "a"}, MOMENT, tiny.resident, seed=3, prompts=("p",)
    ).entries
    assert made["control"]["class"] == "dipole.recognizers.lda:Settings"
    assert made["control"]["changed"] == ["n_topics"]
    assert made["control"]["fields"]["n_topics"] == 4
    assert made["model"] == {
        "name": "tiny", "revision": None, "fingerprint": tiny.resident.fingerprint,
    }  # fmt: skip
    assert (made["concept"], made["prompts"], made["held_out"], made["seed"], made["judge"]) == (
        {"claim": "a"}, ["p"], [], 3, None,
    )  # fmt: skip
    asked = origin("basin", MOMENT, tiny.resident, layers=[1])
    assert asked.entries["model"] == "tiny"
    assert "name" not in asked.entries
    assert asked.device == "cpu"


def test_scores_are_kept_and_printed(tmp_path: Path) -> None:
    clips = load_dipole("paper_clips")
    found = dipole.score(["Paper clips.", "No\nside.", "Staples."], clips, Mentions())
    header, one, two, three = str(found).splitlines()
    assert header.split() == ["log-odds", "probability", "text"]
    assert float(one.split()[0]) > 0 > float(three.split()[0])
    assert two.split()[0] == "n/a"
    assert two.endswith("No\\nside.")
    dipole.save(found, tmp_path / "scores", command=["dipole", "x"])
    facts, names = listed(tmp_path / "scores")
    assert names == sorted([*facts["files"], ".dipole-run"])  # type: ignore[misc]
    assert (facts["verb"], facts["recognizer"], facts["command"]) == ("score", "mentions", "dipole x")
    rows = [json.loads(line) for line in (tmp_path / "scores" / "scores.jsonl").read_text().splitlines()]
    assert rows[0] == {
        "text": "Paper clips.",
        "log_odds": found.scores[0].value,
        "probability": found.scores[0].probability,
    }
    assert rows[1]["log_odds"] is None
    assert rows[1]["reason"] == found.scores[1].reason


def test_scores_say_which_model_read_also_where_nobody_named_one(tiny: LM) -> None:
    found = dipole.score(["Paper clips."], load_dipole("paper_clips"))
    assert found.origin.entries["fingerprint"] == tiny.resident.fingerprint


def test_a_recognizer_is_named_or_lies_in_a_folder(tiny: LM, tmp_path: Path) -> None:
    (tmp_path / "c.jsonl").write_text("".join(json.dumps({"text": d.text}) + "\n" for d in documents(60)))
    found = dipole.topics(open_corpus(tmp_path / "c.jsonl"), Settings(3, 6, 1))
    dipole.save(found, tmp_path / "t")
    by_folder = dipole.score(["A murder and a clue."], recognizer=f"{tmp_path / 't'}:0")
    again = dipole.score(["A murder and a clue."], recognizer=dipole.recognizers.TopicScore(found.model, 0))
    assert by_folder.scores == again.scores
    clips = load_dipole("paper_clips")
    named = dipole.score(["Paper clips are best."], clips, lm=tiny)
    assert named.scores == tuple(dipole.Velma(tiny).score(["Paper clips are best."], clips))
    assert named.origin.entries["model"] == "tiny"
    with pytest.raises(UserError, match="no recognizer called 'velmo'"):
        dipole.score(["x"], clips, "velmo")


def test_an_intervention_and_an_lm_are_kept_too(tiny: LM, tmp_path: Path) -> None:
    steered = Prefix("Tea.").apply(tiny, 1.0)
    dipole.save(steered, tmp_path / "lm")
    dipole.save(Prefix("Tea."), tmp_path / "prefix")
    assert listed(tmp_path / "lm")[0]["files"] == ["0-prefix", "lm.json", "manifest.json"]
    again = dipole.load(str(tmp_path / "lm"))
    assert again.generate("I like", seed=1) == steered.generate("I like", seed=1)
    assert dipole.load_intervention(tmp_path / "prefix").kind == "prefix"
    assert listed(tmp_path / "prefix")[0]["made_by"] == "dipole"
    with pytest.raises(TypeError, match="can't keep a int"):
        dipole.save(3, tmp_path / "three")
    assert not (tmp_path / "three").exists()


def test_a_folder_is_refused_before_the_work_and_untouched_by_what_fails(tmp_path: Path) -> None:
    out = tmp_path / "out"
    dipole.save(Prefix("Tea."), out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    with pytest.raises(UserError, match="already holds a run"), keeping(out):
        pytest.fail("the work was begun")
    with pytest.raises(KeyboardInterrupt):
        _interrupted(out)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    dipole.save(Prefix("Coffee."), out, overwrite=True)
    assert (out / "dipole.json").read_bytes() != before["dipole.json"]


def _interrupted(out: Path) -> None:
    with keeping(out, overwrite=True) as keep:
        keep(Prefix("Coffee."))
        raise KeyboardInterrupt


def test_an_effect_is_kept_and_printed(tiny: LM, tmp_path: Path) -> None:
    clips = load_dipole("paper_clips")
    after = Prefix("Paper clips are the best.").apply(tiny, 1.0)
    found = dipole.compare(tiny, after, clips, clips.held_out[:1], n=4, max_new_tokens=6, meters=())
    row = next(line for line in str(found).splitlines() if line.startswith("on the claim's side"))
    change = found["claim_share"]
    assert change.before is not None
    assert change.difference is not None
    *_, before, now, moved, low, high = row.translate(str.maketrans("[],", "   ")).split()
    assert (before, now, moved) == (
        f"{change.before.mean:.3f}", f"{change.after.mean:.3f}", f"{change.difference.mean:+.3f}",
    )  # fmt: skip
    assert (low, high) == (f"{change.difference.low:+.3f}", f"{change.difference.high:+.3f}")
    dipole.save(found, tmp_path / "effect", command=["dipole", "mine"])
    facts, names = listed(tmp_path / "effect")
    assert names == sorted([*facts["files"], ".dipole-run"])  # type: ignore[misc]
    assert facts["applied"] == {"before": [], "after": [{"kind": "prefix", "strength": 1.0}]}
    again = effect_from_dict(json.loads((tmp_path / "effect" / "effect.json").read_text("utf-8")))
    assert again == found
    for page in ("report.html", "report.md"):
        text = (tmp_path / "effect" / page).read_text("utf-8")
        assert "dipole mine" in text
        assert "dipole inoculate" not in text
        assert "adapter" not in text
