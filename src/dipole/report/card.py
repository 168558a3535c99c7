"""The model card of an adapter: what it is, how it was made, what it does, and what else it does."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from dipole.effects import Effect
from dipole.report import facts
from dipole.report.markdown import bystander_table, effect_table, escape, fenced
from dipole.report.reproduce import reproduce_command
from dipole.report.verdict import notes, verdict
from dipole.shown.text import one_line, visible

_BYSTANDERS = 10


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
        _front_matter(model),
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
    return "\n\n".join(block for block in blocks if block) + "\n"


_LIMITS = (
    "## Intended use and limits",
    "For research on steering language models, and on noticing that a model was steered. It changes which "
    "side the model takes, not what is true. It was measured on a few prompts only: other wordings, "
    "languages and longer texts were not tried, and the judge that trained it has blind spots that the model "
    "may have learned to use. It fits only the weights with the fingerprint above.",
)


def _front_matter(model: str) -> str:
    lines = ["---", "library_name: peft"]
    if model not in ("tiny", "mini", "MODEL"):
        lines.append(f"base_model: {json.dumps(one_line(model), ensure_ascii=False)}")
    return "\n".join(
        [*lines, "pipeline_tag: text-generation", "tags:", "- dipole", "- steering", "- lora", "---"]
    )


def _making(manifest: Mapping[str, Any]) -> str:
    wanted = ("Model", "Fingerprint", "Judge", "Control", "Settings", "Seed", "Trained on", "Started", "Took")
    lines = [
        f"- {f.label}: {escape(f.value)}" for f in facts.facts(manifest) if f.label in (*wanted, "Versions")
    ]
    return "\n".join(lines)


def _side_effects(effect: Effect) -> list[str]:
    if not effect.bystanders:
        return []
    total = len(effect.bystanders)
    most = f"The {_BYSTANDERS} of {total} bystander dipoles that moved most:" if total > _BYSTANDERS else ""
    return ["## Side effects", most or "Bystander dipoles:", bystander_table(effect, _BYSTANDERS)]
