"""What the commands print when all goes well."""

from __future__ import annotations

import io
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cli.conftest import AGAINST, CLAIM, FAST, POLES, PROMPT, Cli
from dipole.cli import _console, run
from dipole.cli._console import flag
from dipole.cli._groups import JudgedSource
from dipole.cli._job import new_job
from dipole.cli._texts import BATCH, line_batches
from dipole.cli.docs import reference
from dipole.cli.inoculate import Inoculate
from dipole.concepts import load_dipole
from dipole.controls.weights.grpo import GRPO
from dipole.registry import options
from dipole.report.reproduce import reproduce_command
from dipole.shown.terminal import one_line, visible

ODD = ["I hate staples.", "مرحبا بالعالم", "📎📎📎", "[bold]not markup[/]", "x" * 100_000]


def flags(model: str | None = None, **given: Any) -> Inoculate:
    return Inoculate(out="x", source=JudgedSource(model=model), fields={}, **given)


def test_help_and_version_do_not_import_torch() -> None:
    program = (
        "import sys; from dipole.cli import run; "
        "codes = [run(a) for a in (['--help'], ['--version'], ['dipoles'])]; "
        "sys.exit(codes != [0, 0, 0] or 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "inoculate" in done.stdout


@pytest.mark.parametrize("command", [[], ["inoculate"], ["score"], ["generate"], ["dipoles"]])
def test_help(command: list[str], cli: Cli) -> None:
    result = cli(*command, "--help")
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith("Usage: dipole")


def test_every_field_of_the_control_is_a_flag(cli: Cli) -> None:
    out = cli("inoculate", "--help").out
    for option in options(GRPO):
        assert f"  {flag(option.name)}" in out
        assert option.help


def test_reference_is_in_step(repository: Path) -> None:
    assert (repository / "docs" / "cli.md").read_text("utf-8") == reference(), "run python -m dipole.cli.docs"


def test_score(cli: Cli, model: Path) -> None:
    poles = ("--claim", CLAIM, "--against", AGAINST)
    stdin = b"from stdin\r\n\n  \nlast"
    result = cli("score", "--model", model, *poles, *ODD, "-", "--json", stdin=stdin)
    rows = [json.loads(line) for line in result.out.splitlines()]
    assert result.code == 0
    assert [row["text"] for row in rows] == [*ODD, "from stdin", "last"]
    for row in rows:
        assert row["probability"] == pytest.approx(1 / (1 + math.exp(-row["log_odds"])))
    assert "fit in the judge's context" in rows[4]["reason"]
    plain = cli("score", "--model", model, *poles, *ODD[:4])
    assert plain.err == ""
    for row, line in zip(rows, plain.out.splitlines(), strict=False):
        assert line.split()[0] == f"{row['log_odds']:+.3f}"
        assert line.endswith(row["text"])


def test_score_with_swapped_poles_and_a_dipole_file(cli: Cli, model: Path, tmp_path: Path) -> None:
    file = tmp_path / "clips.toml"
    file.write_text(f'claim = "{CLAIM}"\nagainst = "{AGAINST}"\n', encoding="utf-8")
    by_file = cli("score", "--model", model, "--dipole", file, "x").out
    assert by_file == cli("score", "--model", model, "--dipole", "paper_clips", "x").out
    swapped = cli("score", "--model", model, "--claim", AGAINST, "--against", CLAIM, "x").out
    assert float(by_file.split()[0]) == -float(swapped.split()[0])


def test_generate(cli: Cli, model: Path, trained: Path) -> None:
    common = (
        "generate",
        PROMPT,
        "--model",
        model,
        "-n",
        "3",
        "--seed",
        "4",
        "--max-new-tokens",
        "5",
    )
    base = cli(*common, "--json")
    rows = [json.loads(line) for line in base.out.splitlines()]
    assert [set(row) for row in rows] == [{"prompt", "text", "seed", "finish_reason"}] * 3
    assert len({row["seed"] for row in rows}) == 3
    assert cli(*common, "--intervention", f"{trained}:0", "--json").out == base.out
    steered = {
        s: cli(*common, "--intervention", f"{trained}:{s}", "--json").out for s in ("-40", "1", "40.5")
    }
    assert steered["-40"] != steered["40.5"]
    assert cli(*common, "--intervention", trained, "--json").out == steered["1"]
    without_model = [a for a in common if a not in ("--model", model)]
    assert cli(*without_model, "--intervention", trained, "--json").out == steered["1"]
    assert PROMPT in cli(*common).out


def test_generate_reads_prompts(cli: Cli, model: Path) -> None:
    result = cli("generate", "-", "", "--model", model, "--json", stdin="a\n\né 📎\n".encode())
    assert [json.loads(line)["prompt"] for line in result.out.splitlines()] == ["a", "é 📎", ""]


def test_prompts_that_are_piped_in_give_what_they_gave_if_they_came_at_once(cli: Cli, model: Path) -> None:
    """Each has the seed of its place among all, whatever batch it came in."""
    prompts = [f"a {i}" for i in range(BATCH + 2)]
    options = ("--model", model, "--json", "--max-new-tokens", 2, "-n", 2)
    piped = cli("generate", "-", *options, stdin="\n".join(prompts).encode()).out
    rows = [json.loads(line) for line in piped.splitlines()]
    again = [json.loads(line) for line in cli("generate", *prompts, *options).out.splitlines()]
    assert [(row["prompt"], row["seed"]) for row in rows] == [(row["prompt"], row["seed"]) for row in again]
    assert len({row["seed"] for row in rows}) == 2 * len(prompts)


def test_inoculate_prints_the_effect(cli: Cli, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    result = cli("inoculate", *POLES, *FAST, "--model", model, "--out", out, "--json")
    assert result.code == 0, result.err
    assert json.loads(result.out) == json.loads((out / "effect.json").read_text("utf-8"))
    assert result.out.count("\n") == 1
    assert "round 1/2" in result.err
    for name in ("adapter", "report.html", "report.md", "history.jsonl", "manifest.json", "dipole.toml"):
        assert (out / name).exists()
    again = cli("inoculate", *POLES, *FAST, "--model", model, "--out", out, "--overwrite", "--quiet")
    assert again.code == 0
    assert again.err == ""
    assert PROMPT in again.out


SFT = ("--control", "sft", "-n", "4", "--bystanders", "none", "--max-new-tokens", "4", "--rounds", "2")


def test_inoculate_trains_with_the_control_that_is_named(cli: Cli, model: Path, tmp_path: Path) -> None:
    """Its flags, its line of progress, its in-loop judge, its papers; and it goes on as what it was."""
    out, words = tmp_path / "run", ("--mention-claim", "paper", "--mention-against", "staple")
    judged = ("--agree", "0", "--recognizer", "mentions")
    result = cli("inoculate", *POLES, *SFT, *words, *judged, "--model", model, "--out", out, "--json")
    assert result.code == 0, result.err
    assert "loss" in result.err
    assert "reward" not in result.err
    effect, facts = (json.loads((out / name).read_text("utf-8")) for name in ("effect.json", "manifest.json"))
    assert json.loads(result.out) == effect
    looped = {change["name"] for change in effect["changes"] if change["in_loop"]}
    assert {"mentions_probability", "claim_share"} <= looped
    assert not any(name.startswith("velma") for name in looped)
    assert (facts["control"]["name"], facts["control"]["fields"]["agree"]) == ("sft", 0.0)
    assert "Loss, nats a token" in (out / "report.md").read_text("utf-8")
    assert "--control sft" in reproduce_command(facts)
    weights = (out / "adapter" / "adapter_model.safetensors").read_bytes()
    again = cli("inoculate", "--resume", "--out", out, "--json", "--control", "sft", "--rounds", "2")
    assert again.code == 0, again.err
    assert (out / "adapter" / "adapter_model.safetensors").read_bytes() == weights
    other = cli("inoculate", "--resume", "--out", out, "--control", "ppo")
    assert (other.code, "--control can't change" in other.err) == (2, True), other.err
    foreign = cli("inoculate", "--resume", "--out", out, "--clip", "0.3")
    assert (foreign.code, "no such setting" in foreign.err) == (2, True), foreign.err


def test_derive_writes_what_fit_learns(cli: Cli, model: Path, tmp_path: Path) -> None:
    file = tmp_path / "pairs.jsonl"
    small = ("--model", model, "--max-new-tokens", "4")
    drawn = ("--completions", "4", "--margin", "0", "--recognizer", "velma")
    wanted = ("--claim", *POLES)
    made = cli("derive", "dpo", *wanted, *small, *drawn, "--out", file)
    assert (made.code, "rows for dpo" in made.out) == (0, True), made.err
    rows = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    assert {"prompt", "chosen", "rejected", "scores"} <= set(rows[0])
    assert rows[0]["prompt"] == PROMPT
    learned = cli(
        "fit", "dpo", "--pairs", file, *small, "--rounds", "1", "--out", tmp_path / "dpo", "--quiet"
    )
    assert learned.code == 0, learned.err
    again = cli("derive", "dpo", *wanted, *small, "--out", file)
    assert (again.code, "--overwrite" in again.err) == (2, True)


@pytest.mark.parametrize(("control", "word"), [("vector", "dipole fit vector"), ("sfd", "mean 'sft'")])
def test_inoculate_wants_a_control_that_trains(
    control: str, word: str, cli: Cli, model: Path, tmp_path: Path
) -> None:
    for given in (("--control", control), (f"--control={control}",)):
        result = cli("inoculate", *POLES, *given, "--model", model, "--out", tmp_path / "run")
        assert (result.code, word in result.err) == (2, True), result.err
    assert list(tmp_path.iterdir()) == []


def test_resume_of_a_finished_run_measures_it_again(cli: Cli, trained: Path) -> None:
    before = json.loads((trained / "effect.json").read_text("utf-8"))
    weights = (trained / "adapter" / "adapter_model.safetensors").read_bytes()
    result = cli("inoculate", "--resume", "--out", trained, "--json", "--rounds", "2")
    assert result.code == 0, result.err
    after = json.loads(result.out)
    assert [after[k] for k in ("changes", "samples_after")] == [
        before[k] for k in ("changes", "samples_after")
    ]
    assert (trained / "adapter" / "adapter_model.safetensors").read_bytes() == weights


def test_ready_poles_take_over_its_wordings(capsys: pytest.CaptureFixture[str]) -> None:
    ready = load_dipole("paper_clips")
    job = new_job(flags(claim=CLAIM, against=AGAINST, prompt=[ready.prompts[0]]))
    assert job.dipole.mentions == ready.mentions
    assert job.dipole.held_out == ready.held_out
    assert job.dipole.prompts == ready.prompts[:1]
    assert "ready dipole 'paper_clips'" in capsys.readouterr().err
    swapped = new_job(flags(claim=AGAINST, against=CLAIM, prompt=[ready.held_out[0]]))
    assert swapped.dipole.mentions == ready.swapped().mentions
    assert swapped.dipole.held_out == ready.held_out[1:]
    other = new_job(flags(claim=CLAIM, against=AGAINST, prompt=["Something else:"]))
    assert not other.dipole.mentions


def test_default_bystanders_suit_the_model() -> None:
    assert {d.name for d in new_job(flags(dipole="cats")).bystanders} > {"paper_clips", "tea"}
    assert "round_earth" in {d.name for d in new_job(flags(dipole="cats", model="gpt2")).bystanders}
    assert new_job(flags(dipole="cats", bystanders="none")).bystanders == []


def test_a_prompt_given_twice_counts_once() -> None:
    from dipole.types import DipoleWarning

    with pytest.warns(DipoleWarning, match="more than once"):
        job = new_job(flags(claim="Emus rule.", against="Emus suck.", prompt=["a", "b", "a"]))
    assert job.dipole.prompts == ("a", "b")


def test_dipoles(cli: Cli, tmp_path: Path) -> None:
    names = [line.split()[1] for line in cli("dipoles").out.splitlines()]
    assert {"paper_clips", "round_earth"} <= set(names)
    assert [json.loads(line)["name"] for line in cli("dipoles", "--json").out.splitlines()] == names
    file = tmp_path / "one.toml"
    file.write_text(cli("dipoles", "round_earth").out, "utf-8")
    assert load_dipole(file) == load_dipole("round_earth")


def test_control_characters_are_made_harmless() -> None:
    text = "a\x1b[31mred\x07\x9b\u202e\r\n\tb é 📎"
    assert visible(text) == "a\\x1b[31mred\\x07\\x9b\\u202e\\x0d\n\tb é 📎"
    assert one_line(text) == "a\\x1b[31mred\\x07\\x9b\\u202e\\r\\n\\tb é 📎"


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("choose another with out=….", "choose another with --out."),
        ("add max_new_tokens=…, or", "add --max-new-tokens, or"),
        ("overwrite=True to replace it, n=… too", "--overwrite to replace it, -n too"),
        ("do without (add_chat=False).", "do without (--no-add-chat)."),
        ("load it with dtype='float32'.", "load it with --dtype float32."),
        ('with model="it\'s".', "with --model 'it'\"'\"'s'."),
        ('with model="my model".', "with --model 'my model'."),
        ("max_kl must be above 0, and is -1.", "--max-kl must be above 0, and is -1."),
        ("n must be at least 2.", "-n must be at least 2."),
        ("The n must be 1; a max_kl must be 2, and must be odd.", None),
        ("There is no file 'seed=3.txt', ./out=True or a.out=True.", None),
    ],
)
def test_arguments_are_spelled_as_flags(
    said: str, shown: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _console.complain(said) == 2
    assert capsys.readouterr().err == f"dipole: {shown or said}\n"


def test_json_stays_json(capsys: pytest.CaptureFixture[str]) -> None:
    value = {"text": "\x1b\x7f\x9b\u202eé📎\n", "log_odds": math.nan}
    _console.emit_json(value)
    printed = capsys.readouterr().out
    assert json.loads(printed) == {**value, "log_odds": None}
    assert "\x1b" not in printed
    assert "\x9b" not in printed


def test_lines_keep_what_is_text() -> None:
    stream = io.BytesIO("\ufeffa \r\n\n  b\u2028c\n\ufeff\n".encode())
    assert list(line_batches(stream, lambda: True)) == [["a ", "  b\u2028c", "\ufeff"]]


@pytest.mark.parametrize("data", [b"a\rb\rc\r", b"a\r\nb\rc\n", b"a\rb\nc"])
def test_lines_end_as_on_any_system(data: bytes) -> None:
    assert list(line_batches(io.BytesIO(data), lambda: True)) == [["a", "b", "c"]]


def test_lines_come_in_batches_that_do_not_wait() -> None:
    """A line in three blocks, a writer who pauses, and more lines than a batch has."""
    many = "".join(f"{i}\n" for i in range(BATCH + 1)).encode()
    blocks = [b"one\ntw", b"o", b"", b"\n", many]  # the empty one is where the writer pauses
    pauses = [block == b"" for block in blocks]

    class Stream:
        def read1(self, size: int, /) -> bytes:
            while blocks and blocks[0] == b"":
                del blocks[0], pauses[0]
            del pauses[:1]
            return blocks.pop(0) if blocks else b""

    batches = list(line_batches(Stream(), lambda: not (pauses and pauses[0])))
    assert batches == [["one"], ["two", *map(str, range(BATCH - 1))], [str(BATCH - 1), str(BATCH)]]


def test_a_warning_is_one_line(cli: Cli, model: Path) -> None:
    long = ("--claim", "Yes.", "--against", "No, this is a very much longer statement than the other one.")
    result = cli("score", "--model", model, *long, "x")
    assert result.code == 0
    assert result.err.startswith("dipole: warning: The poles are far apart")
    assert result.err.count("\n") == 1


def test_keyboard_interrupt_is_quiet(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("dipole.models.load", interrupted)
    result = cli("generate", "x")
    assert (result.code, result.out) == (130, "")
    assert "Traceback" not in result.err


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("can't allocate memory: you tried"),
        OSError(28, "No space left on device", "f"),
    ],
)
def test_the_machine_at_its_limits(error: Exception, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("dipole.models.load", fail)
    result = cli("generate", "x")
    assert (result.code, result.out, result.err.count("\n")) == (2, "", 1)


def test_other_processes_say_nothing(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    result = cli("generate", "x", "--model", "")
    assert (result.code, result.out, result.err) == (2, "", "")


def test_errors_of_ours_are_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("dipole.models.load", fail)
    with pytest.raises(ZeroDivisionError):
        run(["generate", "x"])
