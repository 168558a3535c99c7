"""Numbers, devices and texts at the edge of what can be typed: an answer at once, or one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.conftest import AGAINST, CLAIM, FAST, POLES, PROMPT, Cli
from cli.test_bad_input import refused
from dipole.cli._console import complain
from dipole.concepts import Dipole
from dipole.lm import LM
from dipole.models import load
from dipole.types import UserError

POLE = ("--claim", CLAIM, "--against", AGAINST)
LONG = "The best paper clips are good. " * 170_000  # five megabytes
DEVICES = {
    "meta": "can't be used here",
    "meta:0": "can't be used here",
    "": "The device is an empty string",
    " ": "The device is an empty string",
    "cpu:7": "one cpu for all cores",
    "cpu:x": "can't be used here",
    "cuda:999": "can't be used here",
    "hpu": "can't be used here",
    "privateuseone": "can't be used here",
    "mkldnn": "can't be used here",
    "toaster": "can't be used here",
}
COUNTS = {
    "-n": "99999999999999999999",
    "--max-new-tokens": "99999999999999999999",
    "--top-k": "99999999999999999999",
    "--seed": "99999999999999999999",
    "--temperature": "1e400",
    "--top-p": "1e400",
}


@pytest.mark.parametrize("device", DEVICES)
def test_devices_that_are_none(device: str, cli: Cli, model: Path) -> None:
    result = cli("generate", "x", "--model", model, "--device", device)
    refused(result, DEVICES[device])
    assert len(result.err) < 300


def test_a_device_that_holds_numbers_and_reckons_wrongly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.Tensor.item", lambda self: 0)
    with pytest.raises(UserError, match=r"'cpu' can't be used here \(it reckons wrongly\)"):
        load("tiny", device="cpu")


@pytest.mark.parametrize("flag", ["--dtype", "--revision"])
def test_empty_flags_of_the_model(flag: str, cli: Cli, model: Path) -> None:
    refused(cli("generate", "x", "--model", model, flag, ""), "")


def test_the_first_cpu_is_the_cpu(tiny: LM) -> None:
    assert load("tiny", device="cpu:0").resident.fingerprint == tiny.resident.fingerprint


@pytest.mark.parametrize("flag", COUNTS)
def test_counts_beyond_all_machines(flag: str, cli: Cli, model: Path) -> None:
    refused(cli("generate", "x", "--model", model, flag, COUNTS[flag]), "")


@pytest.mark.parametrize(
    "decoding",
    [("--top-p", "1e-300"), ("--top-p", "5e-324"), ("--temperature", "1e-300"), ("--top-k", "1")],
    ids=" ".join,
)
def test_the_smallest_choice_is_the_likeliest_token(decoding: tuple[str, str], cli: Cli, model: Path) -> None:
    asked = ("generate", "x", "--model", model, "-n", "3")
    assert cli(*asked, *decoding) == cli(*asked, "--temperature", "0")


@pytest.mark.parametrize("decoding", [("--temperature", "1e30"), ("--top-k", "4294967295")], ids=" ".join)
def test_the_widest_choice(decoding: tuple[str, str], cli: Cli, model: Path) -> None:
    assert cli("generate", "x", "--model", model, *decoding).code == 0


LONG_TEXTS: dict[str, tuple[str, ...]] = {
    "claim": ("score", "x", "--claim", LONG, "--against", LONG + "not", "--model", "{model}"),
    "opposite": ("score", "x", "--claim", CLAIM, "--against", LONG, "--model", "{model}"),
    "trained claim": ("inoculate", LONG, *POLES[1:], *FAST, "--model", "{model}", "--out", "{out}"),
    "fitted claim": ("fit", "best_of", "--claim", LONG, *POLE[2:], "--model", "{model}", "--out", "{out}"),
    "mention": ("inoculate", *POLES, "--mention-claim", LONG, *FAST, "--model", "{model}", "--out", "{out}"),
    "prompt": ("generate", LONG, "--model", "{model}"),
    "prompt without a blank": ("generate", "x" * 5_000_000, "--model", "{model}"),
    "prompt to fit on": ("fit", "vector", *POLE, "--prompt", LONG, "--model", "{model}", "--out", "{out}"),
    "prompt of a vector": ("fit", "ablate", *POLE, "--prompt", LONG, "--model", "{model}", "--out", "{out}"),
    "dipole": ("dipoles", LONG),
    "control": ("fit", LONG, "--out", "{out}"),
    "recognizer": ("score", "x", *POLE, "--recognizer", LONG),
}


@pytest.mark.parametrize("case", LONG_TEXTS)
def test_five_megabytes(
    case: str, cli: Cli, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What takes seconds for millions of characters is never asked.
    encode = type(load("tiny", device="cpu").resident).encode

    def small(self: object, text: str, *rest: object, **named: object) -> list[int]:
        assert len(text) < 500_000
        return encode(self, text, *rest, **named)  # type: ignore[arg-type]

    monkeypatch.setattr("dipole.models.resident.TransformersResident.encode", small)
    names = {"{model}": str(model), "{out}": str(tmp_path / "out")}
    result = cli(*(names.get(argument, argument) for argument in LONG_TEXTS[case]))
    assert result.code == 2
    last = result.err.splitlines()[-1]
    assert last.startswith("dipole: ")
    assert len(result.err) < 5000
    assert not (tmp_path / "out").exists()


def test_a_huge_file_of_a_dipole(cli: Cli, model: Path, tmp_path: Path) -> None:
    file = tmp_path / "huge.toml"
    file.write_text(f'claim = "{LONG}"\nagainst = "x"\n')
    refused(cli("score", "x", "--model", model, "--dipole", file), "100,000 are the most")


def test_a_statement_of_a_page_is_fine() -> None:
    page = "Paper clips are good. " * 150
    assert Dipole(page, page.replace("good", "bad")).claim == page.strip()


def test_a_strength_that_overflows(cli: Cli, model: Path, tmp_path: Path) -> None:
    assert cli("fit", "boost", *POLE, "--prompt", PROMPT, "--model", model, "--out", tmp_path / "b").code == 0
    for strength in ("1e30", "-1e30", "1e308"):
        told = cli("generate", "x", "--model", model, "--intervention", f"{tmp_path / 'b'}:{strength}")
        assert told.code in (0, 2)
        assert "Traceback" not in told.err


def test_an_error_that_echoes_megabytes_is_cut(capsys: pytest.CaptureFixture[str]) -> None:
    assert complain(f"There is no {LONG}; give another.") == 2
    said = capsys.readouterr().err
    assert len(said) < 3000
    assert said.endswith("; give another.\n")
