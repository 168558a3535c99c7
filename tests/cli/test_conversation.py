"""`dipole generate --chat`: a conversation over standard input, and `--plain` on a model for chats."""

from __future__ import annotations

import io
import json
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
import typer

from chats import TURNS, family_lm
from dipole import load
from dipole.cli._conversation import converse
from dipole.concepts import load_dipole
from dipole.controls.weights.grpo import GRPO
from dipole.interventions.prompt import Prefix, continued
from dipole.lm import LM
from dipole.report.reproduce import reproduce_command
from dipole.runs import inoculate_in
from dipole.types import Sample, UserError

from .conftest import FAST, Cli, save_model

NEW = ("--max-new-tokens", "6", "--device", "cpu", "--seed", "5")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random chat model."""
    folder = save_model(tmp_path_factory.mktemp("chat") / "model", 3)
    (folder / "chat_template.jinja").write_text(TURNS, encoding="utf-8")
    return folder


def test_replies_know_what_was_said(cli: Cli, model: Path) -> None:
    stdin = b"I like\n\nI take\n/reset\nI take\n/quit\nnever said\n"
    result = cli("generate", "--chat", "--model", model, *NEW, "--json", stdin=stdin)
    assert result.code == 0
    rows = [json.loads(line) for line in result.out.splitlines()]
    lm = load(str(model), device="cpu")
    first = lm.generate("I like", 1, 6, seed=5)[0]
    second = continued(lm, (("I like", first.text),)).generate("I take", 1, 6, seed=5, first=1)[0]
    anew = lm.generate("I take", 1, 6, seed=5, first=3)[0]
    assert [row["text"] for row in rows] == [first.text, second.text, anew.text]
    assert [row["prompt"] for row in rows] == ["I like", "I take", "I take"]
    printed = cli("generate", "--chat", "I like", "--model", model, *NEW, stdin=b"I take").out
    assert printed == f"{first.text}\n{second.text}\n"


def test_nothing_said_is_no_error(cli: Cli, model: Path) -> None:
    result = cli("generate", "--chat", "--model", model, *NEW)
    assert (result.code, result.out) == (0, "")


def test_interventions_are_at_work(cli: Cli, model: Path, tmp_path: Path) -> None:
    prefix = Prefix("Tea is best.", (("I want", "tea."),))
    prefix.save(tmp_path / "tea")
    spec = f"{tmp_path / 'tea'}"
    result = cli(
        "generate", "--chat", "--model", model, *NEW, "--intervention", spec, stdin=b"I like\nI take"
    )
    lm = prefix.apply(load(str(model), device="cpu"))
    first = lm.generate("I like", 1, 6, seed=5)[0].text
    later = continued(lm, (("I like", first),))
    assert result.out == f"{first}\n{later.generate('I take', 1, 6, seed=5, first=1)[0].text}\n"
    turns = [("system", "Tea is best."), ("user", "I want"), ("assistant", "tea."), ("user", "I like")]
    turns += [("assistant", "yes"), ("user", "I take")]
    chat = [{"role": role, "content": content} for role, content in turns]
    tokenizer = lm.resident.tokenizer
    ids = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=False)
    assert continued(lm, (("I like", "yes"),)).prompt_ids("I take") == ids


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("--chat", "hi"), "has no chat template"),
        (("--chat", "-n", "2", "hi"), "one reply"),
        (("--chat", "-"), "standard input is read anyway"),
        ((), "There is nothing to complete"),
    ],
)
def test_what_can_be_no_conversation_is_refused(cli: Cli, arguments: tuple[str, ...], why: str) -> None:
    result = cli("generate", *arguments)
    assert result.code == 2
    assert why in result.err
    assert result.out == ""


def test_plain_is_a_text_to_continue(cli: Cli, model: Path) -> None:
    chat = json.loads(cli("generate", "I take", "--model", model, *NEW, "--json").out)
    plain = json.loads(cli("generate", "I take", "--model", model, *NEW, "--json", "--plain").out)
    lm = load(str(model), device="cpu", plain=True)
    assert plain["text"] == lm.generate("I take", 1, 6, seed=5)[0].text != chat["text"]
    printed = cli("generate", "I take", "--model", model, *NEW).out
    assert printed == f"I take\n{chat['text']}\n"
    assert "was asked to read plain text" in cli("generate", "--chat", "--plain", "--model", model, "hi").err


def test_what_was_made_plain_is_used_plain(cli: Cli, model: Path, tmp_path: Path) -> None:
    poles = ("--claim", "Tea is best.", "--against", "Tea is worst.", "--prompt", "I take")
    more = ("--model", model, "--device", "cpu", "--quiet", "--words", "tea", "--against-words", "clips")
    for name, flags in (("chat", ()), ("plain", ("--plain",))):
        options = (*poles, *more, *flags, "--n", "2", "--max-new-tokens", "3", "--weights", "1")
        assert cli("fit", "boost", *options, "--out", tmp_path / name).code == 0
        manifest = json.loads((tmp_path / name / "manifest.json").read_text())
        assert manifest["model"]["chat"] is (name == "chat")
    made = ("--intervention", f"{tmp_path / 'plain'}:0", *NEW)
    asked = ("generate", "I take", "--model", model, *NEW)
    assert cli("generate", "I take", *made).out == cli(*asked, "--plain").out
    made = ("--intervention", f"{tmp_path / 'chat'}:0", *NEW)
    assert cli("generate", "I take", *made).out == cli(*asked).out


def test_a_run_goes_on_as_it_was_begun(cli: Cli, model: Path, tmp_path: Path) -> None:
    options = ("--model", model, "--device", "cpu", "--plain", "--prompt", "I take")
    begun = cli("inoculate", "Tea is best.", "--against", "Tea is worst.", *FAST, *options, "--out", tmp_path)
    assert begun.code == 0, begun.err
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert (manifest["model"]["chat"], manifest["settings"]["plain"]) == (False, True)
    assert "--plain" in reproduce_command(manifest)
    samples = json.loads((tmp_path / "effect.json").read_text())["samples_after"]
    assert {sample["joint"] for sample in samples} == {""}
    report = (tmp_path / "report.html").read_text()
    assert "without the chat template" in report
    assert "I take <span" in report
    assert "I take …" in (tmp_path / "report.md").read_text()
    again = cli("inoculate", "--resume", "--out", tmp_path, "--json")
    assert again.code == 0, again.err
    assert json.loads(again.out)["samples_after"] == samples


def test_a_run_in_a_chat_says_so(cli: Cli, model: Path, tmp_path: Path) -> None:
    options = ("--model", model, "--device", "cpu", "--prompt", "I take", "--out", tmp_path)
    begun = cli("inoculate", "Tea is best.", "--against", "Tea is worst.", *FAST, *options)
    assert begun.code == 0, begun.err
    samples = json.loads((tmp_path / "effect.json").read_text())["samples_after"]
    assert {sample["joint"] for sample in samples} == {"\n"}
    report = (tmp_path / "report.html").read_text()
    assert "what the user says in a chat" in report
    assert "I take</h3>" in report
    assert "I take …" not in (tmp_path / "report.md").read_text()
    assert "--plain" not in reproduce_command(json.loads((tmp_path / "manifest.json").read_text()))
    control, dipole = (
        GRPO(rounds=2, batch_size=8, max_new_tokens=4),
        load_dipole(str(tmp_path / "dipole.toml")),
    )
    for plain in (True, False):
        lm = load(str(model), device="cpu", plain=plain)
        refused = pytest.raises(UserError, match="chat") if plain else nullcontext()
        with refused:
            inoculate_in(tmp_path, lm, dipole, control, n=4, resume=True)
    other = cli("inoculate", "--resume", "--out", tmp_path, "--plain")
    assert other.code == 2
    assert "With --resume --plain can't change" in other.err


def said(lm: LM, lines: list[str], most: int = 4) -> list[list[int]]:
    """The ids that were read for each line, where every reply is "yes"."""
    read = []

    def answer(now: LM, line: str, number: int) -> Sample:
        read.append(now.prompt_ids(line))
        return Sample(line, "yes", (), (), (), number, "eos")

    converse(lm, lines, answer, lambda now, sample: None, most)
    return read


def test_what_no_longer_fits_is_forgotten_from_the_beginning(capsys: pytest.CaptureFixture[str]) -> None:
    lm = family_lm("chatml")
    limit = lm.resident.context_length or 0
    long = "a b c d e f " * 20
    read = said(lm, [long] * 8)
    own = len(lm.prompt_ids(long))
    assert max(map(len, read)) <= limit - 4
    assert read[1] == continued(lm, ((long, "yes"),)).prompt_ids(long)
    assert len(read[-1]) > limit - 4 - own - 40
    notes = capsys.readouterr().err.splitlines()
    assert len(notes) > 1
    assert {note.rpartition(": ")[2] for note in notes} == {"1 of the turns."}


def test_a_line_that_can_not_be_answered_does_not_end_the_conversation(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lm = family_lm("chatml")
    read = said(lm, ["a", "a b " * 2000, "b"])
    assert len(read) == 2
    assert "more than" in capsys.readouterr().err
    assert read[1] == continued(lm, (("a", "yes"),)).prompt_ids("b")


def test_an_interruption_ends_it_politely(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(now: LM, line: str, number: int) -> Sample:
        raise KeyboardInterrupt

    with pytest.raises(typer.Exit) as caught:
        converse(family_lm("chatml"), ["a"], interrupted, lambda now, sample: None, 4)
    assert caught.value.exit_code == 130


def test_on_a_terminal_it_says_how_to_end_and_when_it_listens(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Terminal())
    said(family_lm("chatml"), ["a"])
    err = capsys.readouterr().err
    assert "/quit" in err
    assert err.count("> ") == 2
