"""The command line that repeats an inoculation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dipole.registry import TRAINED
from dipole.report.facts import part
from dipole.shown.text import shell_line


def reproduce_command(manifest: Mapping[str, Any], out: str | None = None) -> str:
    """The `dipole inoculate …` line that repeats the run.

    Fields of the control that were left at their defaults are not repeated, so the line holds for the
    version of dipole that the manifest names. A concept that says more than the flags can (mentions,
    held-out prompts) is taken from the `dipole.toml` that lies beside the manifest.

    Args:
        manifest: The manifest.
        out: Output folder of the repetition; that of the run by default.
    """
    concept, control, model = (part(manifest, key) for key in ("concept", "control", "model"))
    folder = str(manifest.get("out") or "runs/again")
    parts = ["dipole", "inoculate"]
    if needs_file(concept):
        parts += ["--dipole", f"{folder}/dipole.toml"]
    else:
        parts += [str(concept.get("claim", "")), "--against", str(concept.get("against", ""))]
    prompts = [str(prompt) for prompt in manifest.get("prompts") or ()]
    if not (needs_file(concept) and prompts == list(concept.get("prompts") or ())):
        parts += [part for prompt in prompts for part in ("--prompt", prompt)]
    if model.get("name"):
        parts += ["--model", str(model["name"])]
    if model.get("revision"):
        parts += ["--revision", str(model["revision"])]
    if model.get("chat") is False:
        parts += ["--plain"]
    judge = part(manifest, "judge")
    if judge.get("name"):
        parts += ["--judge", str(judge["name"])]
    if control.get("name") not in (None, TRAINED):
        parts += ["--control", str(control["name"])]
    fields = part(control, "fields")
    for name in control.get("changed") or ():
        if name != "seed":
            parts += _flag(str(name), fields.get(name))
    parts += ["--seed", str(manifest.get("seed", 0)), "--out", out or folder]
    return shell_line(parts)


def needs_file(concept: Mapping[str, Any]) -> bool:
    """Whether the concept says more than `--claim`, `--against` and `--prompt` can."""
    mentions = concept.get("mentions")
    words = any(mentions.values()) if isinstance(mentions, Mapping) else bool(mentions)
    return bool(concept.get("name") or concept.get("held_out") or words)


def _flag(name: str, value: Any) -> list[str]:
    flag = "--" + name.replace("_", "-")
    if value is None:
        return []
    if isinstance(value, bool):
        return [flag if value else f"--no-{flag[2:]}"]
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [part for item in value for part in (flag, str(item))]
    return [flag, str(value)]
