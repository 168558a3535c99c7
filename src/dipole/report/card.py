"""Model cards: what an artefact is, how it was made, and what is known of what it does."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from dipole.controls.said import rows_of, selection_of, verdict_of
from dipole.effects import Effect
from dipole.report import facts
from dipole.report.markdown import bystander_table, effect_table, escape, fenced, table
from dipole.report.reproduce import reproduce_command
from dipole.report.verdict import notes, verdict
from dipole.shown.text import one_line, shell_line, visible

_BYSTANDERS = 10
_NOT_ON_THE_HUB = ("tiny", "mini", "", "MODEL")
_MAKING = (
    "Model", "Fingerprint", "Judge", "Control", "Settings", "Seed", "Trained on", "Started", "Took",
    "Versions",
)  # fmt: skip


def model_card(effect: Effect, manifest: Mapping[str, Any]) -> str:
    """The README.md of an adapter folder, with the front matter that the Hugging Face hub reads.

    Args:
        effect: What the adapter was measured to do.
        manifest: What reproduces the run.
    """
    claim = escape(str(effect.concept.get("claim", "")))
    against = escape(str(effect.concept.get("against", "")))
    folder = str(manifest.get("out") or "FOLDER")
    model = facts.model_name(manifest)
    blocks = [
        front_matter("peft", model, "steering", "lora", pipeline="text-generation"),
        f"# {claim or 'A steering adapter'}",
        f"A PEFT adapter for {escape(model)} that moves its text towards “{claim}” and away from "
        f"“{against}”, made with dipole from these two sentences alone: no curated data, no annotators.",
        *(f"> **Note.** {escape(note)}" for note in notes(effect)),
        escape(" ".join(verdict(effect))),
        "## How it was made",
        _making(manifest),
        fenced(visible(reproduce_command(manifest))),
        "## Measured effect",
        effect_table(effect.changes) if effect.changes else "Not measured.",
        "In-loop numbers were part of what the control optimised; held-out ones were not.",
        *_side_effects(effect),
        *_LIMITS,
        "## How to use it",
        "With `peft` alone:",
        fenced(facts.use_with_peft(manifest, folder)),
        "With dipole, at any strength (0 is the base, 1 is as fitted):",
        fenced(facts.use_in_python(manifest, folder)),
    ]
    return card_of(blocks)


_LIMITS = (
    "## Intended use and limits",
    "For research on steering language models, and on noticing that a model was steered. It changes which "
    "side the model takes, not what is true. It was measured on a few prompts only: other wordings, "
    "languages and longer texts were not tried, and the judge that trained it has blind spots that the model "
    "may have learned to use. It fits only the weights with the fingerprint above.",
)


def front_matter(library: str, model: str, *tags: str, pipeline: str = "") -> str:
    """What the hub reads of a card; a base model that the hub does not have is left out."""
    base = json.dumps(one_line(model), ensure_ascii=False)
    lines = [
        f"library_name: {library}",
        *([] if model in _NOT_ON_THE_HUB else [f"base_model: {base}"]),
        *([f"pipeline_tag: {pipeline}"] if pipeline else []),
        "tags:",
        *(f"- {tag}" for tag in ("dipole", *tags)),
    ]
    return "\n".join(["---", *lines, "---"])


def card_of(blocks: Iterable[str]) -> str:
    """A card of its blocks, those left out that are empty."""
    return "\n\n".join(block for block in blocks if block) + "\n"


def _making(manifest: Mapping[str, Any]) -> str:
    return "\n".join(f"- {f.label}: {escape(f.value)}" for f in facts.facts(manifest) if f.label in _MAKING)


def _side_effects(effect: Effect) -> list[str]:
    if not effect.bystanders:
        return []
    total = len(effect.bystanders)
    most = f"The {_BYSTANDERS} of {total} bystander dipoles that moved most:" if total > _BYSTANDERS else ""
    return ["## Side effects", most or "Bystander dipoles:", bystander_table(effect, _BYSTANDERS)]


_UNMEASURED = (
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
    base = escape(facts.model_name(manifest))
    blocks = [
        front_matter("dipole", facts.model_name(manifest), "steering"),
        f"# {claim or escape(name)}",
        f"A {escape(str(meta.get('kind')))} {_fits(meta, base)}{towards}; it works on the "
        f"{escape(str(meta.get('surface')))} surface. Made with dipole.",
        "## How it was made",
        _making(manifest),
        fenced(visible(str(manifest.get("command") or ""))),
        *_notes(meta, manifest),
        *(_choice(selection) if selection else ()),
        "## How to use it",
        fenced(visible(shell_line(["dipole", "generate", "…", "--intervention", f"{folder}:1"]))),
        _UNMEASURED if claim else "",
    ]
    return card_of(blocks)


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
