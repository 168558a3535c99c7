"""The model card of what a control fitted."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from dipole.controls.said import rows_of, selection_of, verdict_of
from dipole.report.facts import facts, model_name
from dipole.report.markdown import escape, fenced, table
from dipole.shown.text import one_line, shell_line, visible

_BUNDLED = ("tiny", "mini")


_LIMITS = (
    "It was not measured on held-out prompts; `dipole compare` does that. It changes which side the "
    "model takes, not what is true."
)


def fitted_card(meta: Mapping[str, Any], manifest: Mapping[str, Any]) -> str:
    """The README.md of the folder of a fitted intervention, with the front matter that the hub reads.

    Args:
        meta: The `dipole.json` of the intervention.
        manifest: What reproduces the fit.
    """
    concept, name = manifest.get("concept") or {}, str((manifest.get("control") or {}).get("name"))
    folder, selection = str(manifest.get("out") or "FOLDER"), selection_of(meta)
    claim, against = (escape(str(concept.get(pole) or "")) for pole in ("claim", "against"))
    towards = f" that moves text towards “{claim}” and away from “{against}”" if claim else ""
    base = escape(model_name(manifest))
    wanted = ("Model", "Fingerprint", "Control", "Settings", "Seed", "Started", "Took", "Versions")
    blocks = [
        _front_matter(model_name(manifest)),
        f"# {claim or escape(name)}",
        f"A {escape(str(meta.get('kind')))} {_fits(meta, base)}{towards}; it works on the "
        f"{escape(str(meta.get('surface')))} surface. Made with dipole.",
        "## How it was made",
        "\n".join(f"- {f.label}: {escape(f.value)}" for f in facts(manifest) if f.label in wanted),
        fenced(visible(str(manifest.get("command") or ""))),
        *_notes(meta, manifest),
        *(_choice(selection) if selection else ()),
        "## How to use it",
        fenced(visible(shell_line(["dipole", "generate", "…", "--intervention", f"{folder}:1"]))),
        _LIMITS if claim else "",
    ]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _notes(meta: Mapping[str, Any], manifest: Mapping[str, Any]) -> list[str]:
    """What was said while it was fitted."""
    said = [*(manifest.get("warnings") or ()), *((meta.get("facts") or {}).get("notes") or ())]
    return ["## What to know", "\n".join(f"- {escape(str(note))}" for note in said)] if said else []


def _fits(meta: Mapping[str, Any], base: str) -> str:
    bound = meta.get("base_fingerprint") is not None
    return f"for {base}" if bound else f"that fits any model (made with {base})"


def _choice(selection: Mapping[str, Any]) -> list[str]:
    header, rows = rows_of(selection, most=1000)
    return [
        "## How it was chosen",
        escape(verdict_of(selection)),
        escape(f"The rule: {selection.get('rule')}."),
        table([escape(h) for h in header], "r" * len(header), [[escape(c) for c in row] for row in rows]),
    ]


def _front_matter(model: str) -> str:
    named = [] if model in _BUNDLED else [f"base_model: {json.dumps(one_line(model), ensure_ascii=False)}"]
    return "\n".join(["---", "library_name: dipole", *named, "tags:", "- dipole", "- steering", "---"])
