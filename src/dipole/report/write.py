"""Writing the report's files."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dipole.concepts import Dipole
from dipole.effects import Effect
from dipole.files import write_text_atomic
from dipole.report.html import render_html
from dipole.report.markdown import render_markdown
from dipole.report.page import build_page
from dipole.types import DipoleWarning, UserError


def write_report(
    folder: Path, effect: Effect, history: Sequence[Mapping[str, float]], manifest: Mapping[str, Any]
) -> None:
    """Write `report.html`, its Markdown twin `report.md`, and the concept as `dipole.toml`.

    Args:
        folder: Output folder, made where it is missing.
        effect: What changed.
        history: One mapping a training round: `round`, `reward_mean`, `reward_std` (the published score,
            0 to 1), `kl` (nats a sequence), …; may be empty.
        manifest: What reproduces the run; see `dipole.runs.manifest`.

    Raises:
        UserError: A file can't be written; older files are left intact.
    """
    page = build_page(effect, history, manifest)
    html, markdown = render_html(page, str(folder)), render_markdown(page, str(folder))
    concept = _toml(effect.concept)
    if concept:
        write_text_atomic(folder / "dipole.toml", concept)
    write_text_atomic(folder / "report.html", html)
    write_text_atomic(folder / "report.md", markdown)


def _toml(concept: Mapping[str, Any]) -> str:
    """The concept as the file that `--dipole` takes; empty if it is no valid dipole."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DipoleWarning)  # it was said when the run began
        try:
            return Dipole.from_dict(concept).to_toml()
        except UserError:
            return ""
