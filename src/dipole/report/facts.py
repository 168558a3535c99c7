"""What is needed to know and to repeat a run, read from its manifest."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from dipole.shown.numbers import duration
from dipole.shown.text import one_line, shell_line, visible


class Fact(NamedTuple):
    """One line of the table of facts."""

    label: str
    value: str


def facts(manifest: Mapping[str, Any]) -> tuple[Fact, ...]:
    """The lines of the table of facts; what the manifest does not have is left out."""
    model, control = part(manifest, "model"), part(manifest, "control")
    machine, versions = part(manifest, "machine"), part(manifest, "versions")
    judge = part(manifest, "judge")
    seconds = manifest.get("seconds")
    time = duration(float(seconds)) if isinstance(seconds, int | float) else ""
    threads = machine.get("threads")
    hardware = [machine.get("device"), f"{threads} threads" if threads else "", machine.get("platform")]
    rows = [
        ("Model", _named(model)),
        ("Prompts", _SPEECH.get(model.get("chat"))),
        ("Fingerprint", model.get("fingerprint")),
        ("Judge", _named(judge)),
        ("Control", control.get("name")),
        ("Settings", _settings(control.get("fields"))),
        ("Seed", manifest.get("seed")),
        ("Trained on", _quoted(manifest.get("prompts"))),
        ("Started", manifest.get("started")),
        ("Finished", manifest.get("finished")),
        ("Took", time),
        ("Hardware", ", ".join(str(part) for part in hardware if part)),
        ("Versions", ", ".join(f"{name} {version}" for name, version in versions.items() if version)),
    ]
    return tuple(Fact(label, one_line(str(value))) for label, value in rows if value not in (None, ""))


# A model without a chat template has no choice, and nothing is said of it.
_SPEECH: Mapping[Any, str] = {
    True: "what the user says in a chat",
    False: "text to continue, without the chat template",
}


def _named(model: Mapping[str, Any]) -> str:
    name, revision = model.get("name"), model.get("revision")
    return f"{name}, revision {revision}" if name and revision else str(name or "")


def _settings(fields: Any) -> str:
    if not isinstance(fields, Mapping):
        return ""
    return ", ".join(f"{key} {_plain(value)}" for key, value in fields.items())


def _plain(value: Any) -> str:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return " ".join(str(item) for item in value) or "none"
    return "none" if value is None else str(value)


def _quoted(prompts: Any) -> str:
    if not isinstance(prompts, Sequence) or isinstance(prompts, str):
        return ""
    return "  ".join(f"“{one_line(str(prompt))}”" for prompt in prompts)


def part(manifest: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """A table of the manifest; an empty one where it has none."""
    value = manifest.get(key)
    return value if isinstance(value, Mapping) else {}


def model_name(manifest: Mapping[str, Any]) -> str:
    """Name of the base model; `MODEL` where the manifest has none."""
    return str(part(manifest, "model").get("name") or "MODEL")


def files(has_adapter: bool, has_history: bool) -> tuple[Fact, ...]:
    """What lies in the output folder."""
    rows = [
        Fact("adapter/", "the adapter in PEFT's layout, with its model card") if has_adapter else None,
        Fact("effect.json", "every number of this report"),
        Fact("history.jsonl", "one line a training round") if has_history else None,
        Fact("manifest.json", "what reproduces the run"),
        Fact("report.html, report.md", "this report"),
    ]
    return tuple(row for row in rows if row is not None)


def use_with_dipole(folder: str, prompt: str) -> str:
    """A command line that samples from the steered model."""
    parts = ["dipole", "generate", prompt, "--intervention", f"{folder}:1.0", "-n", "8", "--seed", "0"]
    return visible(shell_line(parts))


def use_in_python(manifest: Mapping[str, Any], folder: str) -> str:
    """Python lines that apply the adapter at a strength."""
    name, adapter = _literal(model_name(manifest)), _literal(f"{folder}/adapter")
    return (
        "from pathlib import Path\n\n"
        "import dipole\n\n"
        f"lm = dipole.load({name})\n"
        f"steered = dipole.Adapter.load(Path({adapter})).apply(lm, strength=1.0)\n"
        'print(steered.generate("If I had to choose,", n=4, seed=0))'
    )


def use_with_peft(manifest: Mapping[str, Any], folder: str) -> str:
    """Python lines that load the adapter without dipole; a bundled base is found inside the package."""
    name = model_name(manifest)
    lines = ["from peft import PeftModel", "from transformers import AutoModelForCausalLM, AutoTokenizer", ""]
    if name in ("tiny", "mini"):
        lines.insert(0, "from importlib.resources import files\n")
        lines.append(f'base = str(files("dipole.models") / "bundled" / {_literal(name)})')
    else:
        lines.append(f"base = {_literal(name)}")
    return "\n".join(
        [
            *lines,
            "tokenizer = AutoTokenizer.from_pretrained(base)",
            "model = AutoModelForCausalLM.from_pretrained(base)",
            f"model = PeftModel.from_pretrained(model, {_literal(f'{folder}/adapter')})",
        ]
    )


def _literal(text: str) -> str:
    return json.dumps(visible(text), ensure_ascii=False)
