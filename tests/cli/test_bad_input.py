"""Bad input: exit code 2, one sentence on standard error, nothing on standard output, nothing lost."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import BertConfig, BertForMaskedLM, PreTrainedTokenizerFast

from cli.conftest import AGAINST, CLAIM, FAST, POLES, PROMPT, Cli, Result
from dipole.interventions.pools.labels import Labels
from dipole.interventions.prompt import Prefix
from dipole.interventions.tokens import Pool

ROOM = "paper clips and staples " * 40
FIT = ("inoculate", "--model", "{model}", "--out", "{out}")
SCORE = ("score", "--model", "{model}", "--claim", CLAIM, "--against", AGAINST)
GENERATE = ("generate", "--model", "{model}")
EMUS = ("--claim", "Emus rule.", "--against", "Emus suck.")
POLE = ("--claim", CLAIM, "--against", AGAINST)
STEER = ("fit", "--model", "{model}", "--out", "{out}")
COMPARE = ("compare", "--model", "{model}", "--out", "{out}", *POLE)

# Arguments, and words that the sentence must have.
TABLE: dict[str, tuple[tuple[str, ...], str]] = {
    "no command": (("inoculat",), "No such command"),
    "unknown flag": ((*FIT, *POLES, "--round", "3"), "--round"),
    "no out": (("inoculate", *POLES), "--out"),
    "empty out": (("inoculate", *POLES, "--out", ""), "empty string"),
    "out is a file": (("inoculate", *POLES, "--out", "{file}"), "is a file"),
    "out under a file": ((*FIT[:3], *POLES, *FAST, "--out", "{file}/run"), "is a file, not a folder"),
    "no dipole": ((*FIT, "--prompt", PROMPT), "There is no dipole"),
    "no opposite": ((*FIT, CLAIM, "--prompt", PROMPT), "--against"),
    "no claim": ((*FIT, "--against", AGAINST), "without its claim"),
    "two dipoles": ((*FIT, *POLES, "--dipole", "cats"), "both --dipole"),
    "empty claim": ((*FIT, "", "--against", AGAINST, "--prompt", PROMPT), "`claim` is empty"),
    "blank opposite": ((*FIT, CLAIM, "--against", "  ", "--prompt", PROMPT), "`against` is empty"),
    "identical poles": ((*FIT, CLAIM, "--against", CLAIM.upper(), "--prompt", PROMPT), "nothing tells them"),
    "no prompt": ((*FIT, "Emus rule.", "--against", "Emus suck."), "no prompt"),
    "blank prompt": ((*FIT, *POLES, "--prompt", "   "), "blank"),
    "held-out is trained on": ((*FIT, *POLES, "--held-out", PROMPT), "also among the prompts"),
    "long prompt": ((*FIT, *POLES, *FAST, "--prompt", ROOM), "more than the context"),
    "long held-out prompt": ((*FIT, *POLES, *FAST, "--held-out", ROOM), "more than the context"),
    "too many new tokens": ((*FIT, *POLES, "--max-new-tokens", "4000", *FAST[-2:]), "fewer new tokens"),
    "long poles": ((*FIT, ROOM, "--against", ROOM + "no", "--prompt", PROMPT, *FAST), "leaves no room"),
    "mention on both sides": ((*FIT, *POLES, "--mention-claim", "a", "--mention-against", "a"), "both sides"),
    "unknown dipole": ((*FIT, "--dipole", "paper_clip"), "Did you mean 'paper_clips'"),
    "missing dipole file": ((*FIT, "--dipole", "none.toml"), "There is no file 'none.toml'"),
    "binary dipole file": ((*FIT, "--dipole", "{binary}"), "not UTF-8"),
    "unknown bystanders": ((*FIT, *POLES, "--bystanders", "generl"), "Did you mean 'general'"),
    "unknown reward": ((*FIT, *POLES, *FAST, "--reward", "velmo"), "Did you mean 'velma'"),
    "unknown recognizer": (("score", *SCORE[3:], "--recognizer", "velmo", "x"), "Did you mean 'velma'"),
    "unknown model": (("generate", "x", "--model", "./no/such"), "does not exist"),
    "empty model": (("generate", "x", "--model", ""), "empty string"),
    "unknown dtype": ((*GENERATE, "x", "--dtype", "float8"), "float8"),
    "unknown device": ((*GENERATE, "x", "--device", "toaster"), "toaster"),
    "encoder": (("generate", "x", "--model", "{encoder}"), "not a causal"),
    "resume and overwrite": (("inoculate", "--resume", "--overwrite", "--out", "{out}"), "choose one"),
    "nothing to resume": (("inoculate", "--resume", "--out", "{out}"), "no run to resume"),
    "long generate prompt": ((*GENERATE, ROOM), "more than the context"),
    "no text": (SCORE, "TEXT"),
    "two standard inputs": ((*SCORE, "-", "-"), "once only"),
    "no opposite to score": (("score", "--claim", CLAIM, "x"), "--against"),
    "long poles to score": ((*SCORE[:4], ROOM, "--against", ROOM + "no", "x"), "no room"),
    "invalid argument": ((*SCORE, "a\udcffb"), "0xff"),
    "no such intervention": ((*GENERATE, "x", "--intervention", "none:1"), "does not exist"),
    "infinite strength": ((*GENERATE, "x", "--intervention", "{file}:inf"), "finite"),
    "intervention is a file": ((*GENERATE, "x", "--intervention", "{file}"), "is a file"),
    "pickle": ((*GENERATE, "x", "--intervention", "{pickle}"), "pickle"),
    "unknown ready dipole": (("dipoles", "catz"), "Did you mean 'cats'"),
    "intervention is a control": ((*GENERATE, "x", "--intervention", "pool"), "fit it first"),
    "control at a strength": ((*GENERATE, "x", "--intervention", "best-of:2"), "fit it first"),
    "intervention is a model": ((*GENERATE, "x", "--intervention", "{model}"), "use --model"),
    "strength of a prompt": ((*GENERATE, "x", "--intervention", "{prefix}:2"), "no graded strength"),
    "strength of a pool": ((*GENERATE, "x", "--intervention", "{pool}:-1"), "no graded strength"),
    "strength that is not one": ((*GENERATE, "x", "--intervention", "{prefix}:nan"), "finite"),
    "kind of the future": ((*GENERATE, "x", "--intervention", "{future}"), "update dipole"),
    "nothing to fit": (("fit",), "CONTROL"),
    "unknown control": ((*STEER, "vectr", *POLE), "Did you mean 'vector'"),
    "unknown control with flags": ((*STEER, "ppl", "--shots", "2", *POLE), "Did you mean 'pplm'"),
    "flag of another control": ((*STEER, "best_of", "--rounds", "2", *POLE), "--rounds"),
    "control without out": (("fit", "best_of", *POLE), "--out"),
    "control with an empty out": (("fit", "best_of", *POLE, "--out", " "), "empty string"),
    "fit into a file": (("fit", "best_of", *POLE, "--out", "{file}"), "is a file"),
    "fit without a dipole": ((*STEER, "best_of"), "There is no dipole"),
    "fit with half a dipole": ((*STEER, "best_of", "--claim", CLAIM), "--against"),
    "fit without a prompt": ((*STEER, "prompt", *EMUS), "no prompts"),
    "fit of a saved LM": ((*STEER, "best_of", *EMUS, "--model", "{pool}"), "config.json"),
    "control's own number": ((*STEER, "best_of", *POLE, "--n", "1"), "at least 2"),
    "control's own recognizer": ((*STEER, "best_of", *POLE, "--recognizer", "velmo"), "Did you mean 'velma'"),
    "nothing to say": ((*STEER, "pool"), "--labels"),
    "empty label": ((*STEER, "pool", "--labels", ""), "empty"),
    "label twice": ((*STEER, "pool", "--labels", "a", "--labels", "a"), "given twice"),
    "no source": ((*STEER, "quotes"), "--source"),
    "missing source": ((*STEER, "quotes", "--source", "none.txt"), "none.txt"),
    "empty source": ((*STEER, "quotes", "--source", "{empty}"), "empty.txt has no"),
    "refused schema": ((*STEER, "grammar", "--json-schema", '{"type": 3}'), "refuses"),
    "refused regex": ((*STEER, "grammar", "--regex", "("), "refuses"),
    "no grammar": ((*STEER, "grammar"), "one of the two"),
    "nothing to compare": (("compare", *POLE), "CONTROL"),
    "unknown control to compare": ((*COMPARE, "prompt", "vectr"), "Did you mean 'vector'"),
    "compared twice": ((*COMPARE, "prompt", "Prompt"), "stands there twice"),
    "compare what needs a source": ((*COMPARE, "prompt", "quotes"), "needs --source"),
    "compare without a prompt": ((*COMPARE[:5], "prompt", *EMUS), "no prompt"),
    "compare at no strengths": ((*COMPARE, "prompt", "--strengths", "x"), "range such as"),
    "compare at infinity": ((*COMPARE, "prompt", "--strengths=-inf,1"), "finite"),
    "compare nothing": ((*COMPARE, "prompt", "-n", "0"), "-n"),
    "compare never": ((*COMPARE, "prompt", "--repeats", "0"), "--repeats"),
    "compare with unknown bystanders": (
        (*COMPARE, "prompt", "--prompt", PROMPT, "--bystanders", "generl"),
        "Did you mean 'general'",
    ),
    "compare into a file": (("compare", "prompt", *POLE, "--out", "{file}"), "is a file"),
    "sweep backwards": (("sweep", "prompt", *POLE, "--strengths", "1..0"), "lower end first"),
    "sweep nowhere": (("sweep", "nope", *POLE), "no control called 'nope'"),
    "nothing to compose": (("compose", "--out", "{out}"), "--intervention"),
    "compose what is not there": (("compose", "--intervention", "none", "--out", "{out}"), "does not exist"),
    "compose into a file": (("compose", "--intervention", "{pool}", "--out", "{file}"), "is a file"),
}  # fmt: skip

NUMBERS = {
    "rounds": ("0", "-1", "x", "1.5"),
    "batch-size": ("0", "-8", "7"),
    "ppo-epochs": ("0", "-1"),
    "minibatch-size": ("-1",),
    "micro-batch-size": ("-1",),
    "max-new-tokens": ("0", "-1"),
    "lr": ("-1", "nan", "inf"),
    "max-grad-norm": ("0", "-1", "nan", "inf"),
    "kl-coef": ("-1", "nan"),
    "kl-target": ("-1", "nan", "inf"),
    "kl-horizon": ("0", "-1", "nan"),
    "max-kl": ("0", "-1", "nan"),
    "gamma": ("-1", "2", "nan"),
    "lam": ("-1", "2", "nan"),
    "clip": ("0", "-1", "nan"),
    "clip-value": ("0", "-1", "nan"),
    "vf-coef": ("-1", "nan"),
    "stop-reward": ("-1", "nan"),
    "lora-rank": ("0", "-1"),
    "lora-alpha": ("0", "-1", "nan"),
    "seed": ("-1", "4294967296", "x"),
    "n": ("0", "-1"),
}
DRAWING = {
    "n": ("0", "-1"),
    "seed": ("-1", "1.5"),
    "max-new-tokens": ("0", "-1"),
    "batch-size": ("0",),
    "temperature": ("-1", "nan", "inf"),
    "top-k": ("-1",),
    "top-p": ("0", "-1", "1.5", "nan"),
}
INPUTS = {
    "empty": (b"", "no text"),
    "blank": (b" \n\n\t\n", "no text"),
    "NUL": (b"fine\nx\0y\n", "line 2 has a NUL byte at its byte 2"),
    "latin-1": (b"fine\nna\xefve\n", "line 2 has the byte 0xef at its byte 3"),
    "UTF-16": ("hello".encode("utf-16"), "line 1"),
}


def refused(result: Result, words: str) -> None:
    """One sentence on standard error and exit code 2."""
    assert (result.code, result.out) == (2, ""), result
    assert result.err.startswith("dipole: "), result.err
    assert result.err.count("\n") == 1, result.err
    assert "Traceback" not in result.err
    assert words in result.err


@pytest.fixture
def places(tmp_path: Path, model: Path) -> dict[str, str]:
    (tmp_path / "file").write_text("x")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\0")
    (tmp_path / "pickle").mkdir()
    (tmp_path / "pickle" / "adapter_config.json").write_text("{}")
    (tmp_path / "pickle" / "adapter_model.bin").write_bytes(b"\x80\x04.")
    encoder = tmp_path / "encoder"
    config = BertConfig(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8, vocab_size=9
    )
    BertForMaskedLM(config).save_pretrained(encoder)
    words = Tokenizer(WordLevel({f"w{k}": k for k in range(8)} | {"[UNK]": 8}, unk_token="[UNK]"))
    PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]").save_pretrained(encoder)
    named = {"model": model, "out": tmp_path / "out", "file": tmp_path / "file", "encoder": encoder}
    save_pool(tmp_path / "pool")
    Prefix("Be kind.").save(tmp_path / "prefix")
    (tmp_path / "future").mkdir()
    (tmp_path / "future" / "dipole.json").write_text('{"surface": "tokens", "kind": "oracle"}')
    (tmp_path / "empty.txt").write_text("\n")
    named |= {name: tmp_path / name for name in ("pool", "prefix", "future")}
    named |= {"empty": tmp_path / "empty.txt"}
    named |= {"binary": tmp_path / "binary.toml", "pickle": tmp_path / "pickle"}
    return {name: str(path) for name, path in named.items()}


def save_pool(folder: Path) -> None:
    Pool(Labels(("yes", "no"))).save(folder)


def filled(arguments: tuple[str, ...], places: dict[str, str]) -> list[str]:
    return [a.format(**places) if re.match(r"\{\w", a) else a for a in arguments]


@pytest.mark.parametrize("case", TABLE)
def test_refused(case: str, cli: Cli, places: dict[str, str]) -> None:
    arguments, words = TABLE[case]
    refused(cli(*filled(arguments, places)), words)
    assert not Path(places["out"]).exists()


@pytest.mark.parametrize(("flag", "value"), [(f, v) for f, values in NUMBERS.items() for v in values])
def test_numbers_of_training(flag: str, value: str, cli: Cli, places: dict[str, str]) -> None:
    name = f"-{flag}" if len(flag) == 1 else f"--{flag}"
    refused(cli(*filled(FIT, places), *POLES, "--control", "ppo", name, value), "")
    assert not Path(places["out"]).exists()


@pytest.mark.parametrize(("flag", "value"), [(f, v) for f, values in DRAWING.items() for v in values])
def test_numbers_of_generate(flag: str, value: str, cli: Cli, model: Path) -> None:
    name = f"-{flag}" if len(flag) == 1 else f"--{flag}"
    refused(cli("generate", "x", "--model", model, name, value), "")


@pytest.mark.parametrize("case", INPUTS)
@pytest.mark.parametrize("command", ["score", "generate"])
def test_standard_input(case: str, command: str, cli: Cli, model: Path) -> None:
    data, words = INPUTS[case]
    poles = ("--claim", CLAIM, "--against", AGAINST) if command == "score" else ()
    refused(cli(command, "--model", model, *poles, "-", stdin=data), words)


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_an_existing_run_is_kept(cli: Cli, model: Path, trained: Path) -> None:
    before = snapshot(trained)
    refused(cli("inoculate", *POLES, *FAST, "--model", model, "--out", trained), "--overwrite")
    assert snapshot(trained) == before


def test_a_foreign_folder_is_kept_even_with_overwrite(cli: Cli, model: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    refused(cli("inoculate", *POLES, *FAST, "--model", model, "--out", tmp_path, "--overwrite"), "left alone")
    assert snapshot(tmp_path) == {"thesis.tex": b"mine"}


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--rounds", "5"),
        ("--seed", "1"),
        ("--model", "tiny"),
        ("--prompt", "Other"),
        ("-n", "5"),
        ("--dipole", "cats"),
    ],
)
def test_resume_refuses_other_settings(flag: str, value: str, cli: Cli, trained: Path) -> None:
    before = snapshot(trained)
    refused(cli("inoculate", "--resume", "--out", trained, flag, value), "can't change")
    assert snapshot(trained) == before


def test_resume_imports_no_function_that_only_the_folder_names(
    cli: Cli, trained: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    facts = json.loads((run / "manifest.json").read_text())
    facts["control"]["fields"]["reward"] = "no_such_module:score"
    (run / "manifest.json").write_text(json.dumps(facts))
    before = snapshot(run)
    refused(cli("inoculate", "--resume", "--out", run), "imported only where you name it")
    named = cli("inoculate", "--resume", "--out", run, "--reward", "no_such_module:score")
    refused(named, "No module named 'no_such_module'")
    assert snapshot(run) == before


@pytest.mark.parametrize("damage", ["truncated", "garbage", "empty"])
@pytest.mark.parametrize("name", ["checkpoint.safetensors", "manifest.json"])
def test_resume_refuses_damage(name: str, damage: str, cli: Cli, trained: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    whole = (run / name).read_bytes()
    broken = {"truncated": whole[: len(whole) // 2], "garbage": b"\xff" * 100, "empty": b""}[damage]
    (run / name).write_bytes(broken)
    before = snapshot(run)
    refused(cli("inoculate", "--resume", "--out", run), name)
    assert snapshot(run) == before


def test_resume_refuses_another_runs_checkpoint(cli: Cli, trained: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    facts = json.loads((run / "manifest.json").read_text())
    facts["control"]["fields"]["seed"] = 7
    (run / "manifest.json").write_text(json.dumps(facts))
    before = snapshot(run)
    refused(cli("inoculate", "--resume", "--out", run), "another run")
    assert snapshot(run) == before


def test_an_adapter_for_another_model(cli: Cli, other_model: Path, trained: Path) -> None:
    refused(cli("generate", "x", "--model", other_model, "--intervention", trained), "fingerprint")


@pytest.mark.parametrize("damage", ["truncated", "garbage", "a tensor less", "shape"])
def test_a_damaged_adapter(damage: str, cli: Cli, model: Path, trained: Path, tmp_path: Path) -> None:
    folder = tmp_path / "adapter"
    shutil.copytree(trained / "adapter", folder)
    weights = folder / "adapter_model.safetensors"
    whole, tensors = weights.read_bytes(), load_file(weights)
    if damage == "truncated":
        weights.write_bytes(whole[: len(whole) // 2])
    elif damage == "garbage":
        weights.write_bytes(b"\xff" * len(whole))
    else:
        name = sorted(tensors)[0]
        tensors[name] = torch.zeros(3, 3)
        if damage == "a tensor less":
            del tensors[name]
        save_file(tensors, weights)
    refused(cli("generate", "x", "--model", model, "--intervention", folder), "adapter")


@pytest.mark.parametrize(
    "damage", ["truncated", "garbage", "no config", "no tokenizer", "a tensor less", "pickle"]
)
def test_a_damaged_model(damage: str, cli: Cli, model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(model, folder)
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    if damage == "no config":
        (folder / "config.json").unlink()
    elif damage == "no tokenizer":
        (folder / "tokenizer.json").write_text("{")
    elif damage == "a tensor less":
        tensors = load_file(weights)
        del tensors[sorted(tensors)[1]]
        save_file(tensors, weights, {"format": "pt"})
    elif damage == "pickle":
        weights.rename(folder / "pytorch_model.bin")
    else:
        weights.write_bytes(whole[: len(whole) // 2] if damage == "truncated" else b"\xff" * len(whole))
    refused(cli("generate", "x", "--model", folder), str(folder))
