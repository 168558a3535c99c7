"""The manifest: what a run was, in enough detail to run it again."""

from __future__ import annotations

import dataclasses
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from typing import TYPE_CHECKING, Any

from dipole.files import to_plain
from dipole.shown.text import shell_line
from dipole.types import UserError

if TYPE_CHECKING:
    from dipole.protocols import LM

_PACKAGES = ("torch", "transformers", "peft", "accelerate", "numpy", "safetensors")


def manifest(
    *,
    control: Any,
    concept: Mapping[str, Any],
    prompts: Sequence[str],
    seed: int,
    model: str,
    fingerprint: str,
    started: datetime,
    finished: datetime,
    revision: str | None = None,
    held_out: Sequence[str] = (),
    device: str = "cpu",
    threads: int | None = None,
    out: str | None = None,
    judge: Mapping[str, Any] | None = None,
    command: Sequence[str] | None = None,
    extra: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Collect what reproduces a run as plain data for `manifest.json`.

    Args:
        control: The control, a dataclass with a `name`; every field is recorded.
        concept: The concept as plain data.
        prompts: Prompts that were trained on.
        seed: Seed of the run.
        model: What the user asked for as the model.
        fingerprint: Fingerprint of its weights.
        started: When the run began, with a time zone.
        finished: When it ended.
        revision: Commit of the model on the hub.
        held_out: Prompts that the effect was measured on.
        device: Device that the model was on.
        threads: CPU threads of torch.
        out: Output folder as the user wrote it.
        judge: Name, revision and fingerprint of a separate scorer.
        command: Arguments of the command line; those of this process by default.
        extra: Further keys; they may not replace the ones above.

    Raises:
        UserError: A key of `extra` is already taken.
    """
    fields = _fields(control)
    made: dict[str, Any] = {
        "made_by": "dipole",
        "format": 1,
        "command": command_line(sys.argv if command is None else command),
        "concept": dict(concept),
        "prompts": list(prompts),
        "held_out": list(held_out),
        "control": {
            "name": str(getattr(control, "name", type(control).__name__.lower())),
            "class": f"{type(control).__module__}:{type(control).__qualname__}",
            "fields": fields,
            "changed": _changed(control),
        },
        "seed": seed,
        "model": {"name": model, "revision": revision, "fingerprint": fingerprint},
        "judge": dict(judge) if judge else None,
        "out": out,
        "started": _utc(started),
        "finished": _utc(finished),
        "seconds": round((finished - started).total_seconds(), 3),
        "machine": {
            "platform": platform.platform(),
            "processor": platform.machine(),
            "cpus": os.cpu_count(),
            "device": device,
            "threads": threads,
        },
        "versions": versions(),
    }
    taken = sorted(set(extra or {}) & set(made))
    if taken:
        raise UserError(f"The manifest already has {', '.join(taken)}; give the extra entries other names.")
    plain: dict[str, Any] = to_plain({**made, **(extra or {})})
    return plain


def verb_facts(
    verb: str, started: datetime, command: Sequence[str] | None = None, lm: LM | None = None, **more: Any
) -> dict[str, Any]:
    """What reproduces a command that fits no control, for `manifest.json`.

    Args:
        verb: The command.
        started: When it began, with a time zone.
        command: Arguments of the command line; those of this process by default.
        lm: The model that it read with, if any.
        more: Further entries.
    """
    resident = None if lm is None else lm.resident
    model = (
        {}
        if resident is None
        else {
            "model": resident.name,
            "revision": resident.revision,
            "fingerprint": resident.fingerprint,
        }
    )
    return {
        "made_by": "dipole",
        "format": 1,
        "verb": verb,
        "command": command_line(sys.argv if command is None else command),
        **model,
        **more,
        "seconds": round((datetime.now(UTC) - started).total_seconds(), 3),
        "versions": {**versions(), **more.get("versions", {})},
    }


def versions() -> dict[str, str | None]:
    """Versions of dipole, Python and the packages that decide the numbers; None for one that is missing."""
    found: dict[str, str | None] = {"dipole": _version("dipole"), "python": platform.python_version()}
    return found | {name: _version(name) for name in _PACKAGES}


def command_line(arguments: Sequence[str]) -> str:
    """A command line that a shell takes as it stands; the program goes by its name, not its path."""
    program, *rest = arguments or ("dipole",)
    name = os.path.basename(program)
    if name in ("__main__.py", "-m", "-c", "") or name.startswith(("pytest", "ipykernel")):
        name = "dipole"
    return shell_line([name, *rest])


def reproduce_command(manifest: Mapping[str, Any], out: str | None = None) -> str:
    """The `dipole inoculate …` line that repeats the run.

    Fields of the control that were left at their defaults are not repeated, so the line holds for the
    version of dipole that the manifest names. A concept that says more than the flags can (mentions,
    held-out prompts) is taken from the `dipole.toml` that lies beside the manifest.

    Args:
        manifest: The manifest.
        out: Output folder of the repetition; that of the run by default.
    """
    concept, control, model = (_mapping(manifest, key) for key in ("concept", "control", "model"))
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
    judge = _mapping(manifest, "judge")
    if judge.get("name"):
        parts += ["--judge", str(judge["name"])]
    if control.get("name") not in (None, "ppo"):
        parts += ["--control", str(control["name"])]
    fields = _mapping(control, "fields")
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


def _fields(control: Any) -> dict[str, Any]:
    if not dataclasses.is_dataclass(control) or isinstance(control, type):
        return {}
    return {f.name: to_plain(getattr(control, f.name)) for f in dataclasses.fields(control)}


def _changed(control: Any) -> list[str]:
    """Names of the fields that differ from their defaults."""
    if not dataclasses.is_dataclass(control) or isinstance(control, type):
        return []
    changed = []
    for f in dataclasses.fields(control):
        made = f.default_factory() if f.default_factory is not dataclasses.MISSING else f.default
        if made is dataclasses.MISSING or made != getattr(control, f.name):
            changed.append(f.name)
    return changed


def _utc(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _mapping(source: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = source.get(key)
    return value if isinstance(value, Mapping) else {}
