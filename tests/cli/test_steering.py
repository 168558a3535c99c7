"""Controls on the command line: list, fit, engage, compose."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest
import typer
import typer.main

from cli.conftest import AGAINST, CLAIM, PROMPT, Cli
from dipole.cli._app import build, fields_for
from dipole.cli._comparing import strengths_from
from dipole.cli._console import flag
from dipole.cli._flags import command
from dipole.cli.docs import control_table
from dipole.registry import CONTROLS, options, resolve
from dipole.types import UserError

ON = ("--claim", CLAIM, "--against", AGAINST, "--prompt", PROMPT)
SHORT = ("--n", "2", "--shots", "0", "--max-new-tokens", "4")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Path:
    """A folder with two fitted interventions, `p` and `bo`."""
    from dipole.cli import run

    folder = tmp_path_factory.mktemp("made")
    common = [*ON, "--model", str(model), "--quiet"]
    assert run(["fit", "prompt", *common, *SHORT, "--out", str(folder / "p")]) == 0
    assert run(["fit", "best-of", *common, "--n", "2", "--out", str(folder / "bo")]) == 0
    return folder


def test_controls_lists_the_registry(cli: Cli) -> None:
    rows = [json.loads(line) for line in cli("controls", "--json").out.splitlines()]
    assert [row["name"] for row in rows] == list(CONTROLS)
    assert {row["surface"] for row in rows} <= {
        "prompt", "weights", "activations", "tokens", "logits", "decode",
    }  # fmt: skip
    graded = {row["name"]: row["graded"] for row in rows}
    assert (graded["prompt"], graded["ppo"], graded["best_of"]) == (False, True, False)
    for row in rows:
        assert row["summary"].endswith(".")
        assert row["paper"]
    lines = cli("controls").out.splitlines()
    assert [line.split()[0] for line in lines if not line.startswith(" ")] == ["control", *CONTROLS]
    assert max(map(len, lines)) <= 100


def test_the_table_of_controls_is_in_step(repository: Path) -> None:
    page = (repository / "docs" / "controls" / "README.md").read_text("utf-8")
    assert page == control_table(), "run python -m dipole.cli.docs --controls > docs/controls/README.md"


@pytest.mark.parametrize("control", CONTROLS)
def test_every_control_has_its_flags(control: str, cli: Cli) -> None:
    result = cli("fit", control, "--help")
    assert (result.code, result.err) == (0, "")
    for option in options(resolve(CONTROLS, control)):
        assert option.help, option.name
        assert f"{flag(option.name)} " in result.out, option.name


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (["fit", "best_of"], "recognizer"),
        (["fit", "Best-Of", "--out", "prompt"], "recognizer"),
        (["fit", "--out", "prompt", "best_of"], "recognizer"),
        (["fit", "--out=prompt", "best_of"], "recognizer"),
        (["fit", "--overwrite", "best_of"], "recognizer"),
        (["fit", "-q", "prompt", "--dipole", "ppo"], "shots"),
        (["fit", "--no-detach-value", "ppo"], "rounds"),
        (["fit", "--detach-value", "ppo", "--out", "x"], "rounds"),
        (["inoculate", "--out", "x"], "rounds"),
    ],
)
def test_the_control_is_found_among_the_arguments(arguments: list[str], field: str) -> None:
    names = {option.name for option in fields_for(arguments[0], arguments)}
    assert field in names
    assert build(arguments)


def test_fields_become_flags_of_their_types() -> None:
    @dataclass
    class Made:
        """Made.

        Attributes:
            words: Words.
            layer: Layer.
            share: Share.
            kind: Kind.
            on: Switch.
            lm: No flag.
        """

        words: tuple[str, ...]
        layer: int = -1
        share: float | None = None
        kind: Literal["a", "b"] = "a"
        on: bool = True
        lm: Any = None

    @dataclass
    class Told:
        fields: dict[str, Any]

        def run(self) -> dict[str, Any]:
            return self.fields

    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command()(command(Told, options(Made)))
    run = typer.main.get_command(app)
    given = ["--words", "a", "--words", "b", "--layer", "-2", "--share", "0.5", "--kind", "b", "--no-on"]
    wanted = {"words": ("a", "b"), "layer": -2, "share": 0.5, "kind": "b", "on": False}
    assert run.main(given, standalone_mode=False) == wanted
    assert run.main([], standalone_mode=False) == {}
    with pytest.raises(UserError, match="--share must be a finite number"):
        run.main(["--share", "inf"], standalone_mode=False)


def test_other_commands_have_no_fields() -> None:
    for arguments in (["generate", "fit", "prompt"], ["fit"], ["--help"], ["score", "inoculate"]):
        assert fields_for("fit", arguments) == ()
        assert fields_for("inoculate", arguments) == ()


def test_help_imports_no_torch() -> None:
    program = (
        "import sys; from dipole.cli import run; "
        "codes = [run([c, '--help']) for c in ('fit', 'compare', 'sweep', 'compose')]; "
        "sys.exit(any(codes) or 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_fit_prints_what_was_chosen(cli: Cli, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "p"
    result = cli("fit", "prompt", *ON, *SHORT, "--model", model, "--out", out)
    assert result.code == 0, result.err
    assert result.out.startswith(f"{out}: prefix, on the prompt surface, on or off\n")
    assert "chosen" in result.out
    assert "the only candidate" in result.out or "nothing" in result.out
    assert f"--intervention {out}" in result.err
    again = cli("fit", "prompt", *ON, *SHORT, "--model", model, "--out", out, "--overwrite", "--json", "-q")
    assert (again.code, again.err) == (0, "")
    record = json.loads(again.out)
    assert (record["control"], record["kind"], record["graded"]) == ("prompt", "prefix", False)
    assert record["selection"] == json.loads((out / "dipole.json").read_text())["facts"]["selection"]


def test_fit_trains_without_measuring(cli: Cli, model: Path, tmp_path: Path) -> None:
    fast = ("--rounds", "2", "--batch-size", "8", "--max-new-tokens", "4")
    result = cli("fit", "ppo", *ON, *fast, "--model", model, "--out", tmp_path / "a")
    assert result.code == 0, result.err
    assert "adapter, on the weights surface, at any strength" in result.out
    assert "round 2/2" in result.err
    assert "measuring" not in result.err
    assert not (tmp_path / "a" / "report.html").exists()
    assert cli("generate", "x", "--intervention", f"{tmp_path / 'a'}:-2").code == 0


def test_kinds_are_engaged_together(cli: Cli, made: Path, trained: Path) -> None:
    engaged = [a for f in (f"{trained}:0.5", made / "p", f"{made / 'bo'}:1") for a in ("--intervention", f)]
    result = cli("generate", PROMPT, "-n", "2", "--max-new-tokens", "4", *engaged, "--json")
    assert result.code == 0, result.err
    assert len(result.out.splitlines()) == 2
    off = [a.replace(":0.5", ":0") if isinstance(a, str) else a for a in engaged]
    assert cli("generate", PROMPT, "-n", "2", "--max-new-tokens", "4", *off, "--json").out != result.out


def test_the_model_is_that_of_the_fit(cli: Cli, made: Path, model: Path) -> None:
    arguments = ("generate", PROMPT, "--max-new-tokens", "4", "--intervention", made / "p", "--json")
    assert cli(*arguments).out == cli(*arguments, "--model", model).out


def test_what_fits_one_model_alone_decides_which(
    cli: Cli, trained: Path, other_model: Path, tmp_path: Path
) -> None:
    assert cli("fit", "best_of", *ON, "--n", "2", "--model", other_model, "--out", tmp_path / "b").code == 0
    engaged = ("--intervention", tmp_path / "b", "--intervention", trained)
    result = cli("generate", PROMPT, "--max-new-tokens", "4", *engaged)
    assert result.code == 0, result.err


def test_strength_0_is_the_base(cli: Cli, made: Path, model: Path) -> None:
    common = ("generate", PROMPT, "--model", model, "--max-new-tokens", "6", "--json")
    off = ("--intervention", f"{made / 'p'}:0", "--intervention", f"{made / 'bo'}:0")
    assert cli(*common, *off).out == cli(*common).out


def test_a_pool_needs_no_dipole_and_fits_any_model(
    cli: Cli, model: Path, other_model: Path, tmp_path: Path
) -> None:
    labels = ("--labels", "yes", "--labels", "no way")
    assert cli("fit", "pool", *labels, "--model", model, "--out", tmp_path / "pool").code == 0
    assert not (tmp_path / "pool" / "dipole.toml").exists()
    for lm in (model, other_model):
        result = cli("generate", "x", "-n", "4", "--model", lm, "--intervention", tmp_path / "pool", "--json")
        assert {json.loads(line)["text"].strip() for line in result.out.splitlines()} <= {"yes", "no way"}
    assert "fits any model" in (tmp_path / "pool" / "README.md").read_text()


def test_quotes_say_where_they_stand(cli: Cli, model: Path, tmp_path: Path) -> None:
    source = tmp_path / "source.txt"
    source.write_text("The paper clips are café-bright, and the staples are not.")
    fitted = cli("fit", "quotes", "--source", source, "--model", model, "--out", tmp_path / "q")
    assert fitted.code == 0, fitted.err
    result = cli("generate", "x", "-n", "3", "--intervention", tmp_path / "q", "--json")
    assert result.code == 0, result.err
    for line in result.out.splitlines():
        record = json.loads(line)
        for part in record["segments"]:
            assert source.read_text()[part["start"] : part["end"]] == part["text"]
            assert part["text"] in record["text"]
    off = cli("generate", "x", "--model", model, "--intervention", f"{tmp_path / 'q'}:0", "--json")
    assert "segments" not in json.loads(off.out)


def test_compose(cli: Cli, made: Path, trained: Path, tmp_path: Path) -> None:
    engaged = [a for f in (f"{trained}:-2", made / "p") for a in ("--intervention", f)]
    out = tmp_path / "lm"
    result = cli("compose", *engaged, "--out", out)
    assert result.code == 0, result.err
    assert "adapter at -2, on the weights\n" in result.out
    write = ("generate", PROMPT, "--max-new-tokens", "4", "--json")
    assert cli(*write, "--model", out).out == cli(*write, *engaged).out
    record = json.loads(cli("compose", *engaged, "--out", tmp_path / "other", "--json").out)
    assert [part["strength"] for part in record["interventions"]] == [-2.0, 1.0]


@pytest.mark.parametrize(
    ("text", "steps", "wanted"),
    [
        ("-4..4", None, (-4.0, -3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0, 4.0)),
        ("0..1", 3, (0.0, 0.5, 1.0)),
        ("-.1...2", 4, (-0.1, 0.0, 0.1, 0.2)),
        ("1,-1,0,1", None, (-1.0, 0.0, 1.0)),
        (" 2 ", None, (2.0,)),
        ("-1e0, 5", None, (-1.0, 5.0)),
    ],
)
def test_strengths(text: str, steps: int | None, wanted: tuple[float, ...]) -> None:
    assert strengths_from(text, steps) == wanted


@pytest.mark.parametrize(
    ("text", "steps", "words"),
    [
        ("", None, "range such as"),
        ("a..b", None, "range such as"),
        ("-4", 3, "leave it out"),
        ("4..-4", None, "lower end first"),
        ("1..1", None, "lower end first"),
        ("..", None, "range such as"),
        ("1,,2", None, "range such as"),
        ("nan", None, "finite"),
        ("-inf..1", None, "finite"),
        ("0..1", 1, "from 2"),
        ("0..1", 10**6, "from 2"),
    ],
)
def test_strengths_that_mean_nothing(text: str, steps: int | None, words: str) -> None:
    with pytest.raises(UserError, match=words):
        strengths_from(text, steps)
