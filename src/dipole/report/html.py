"""The report as one self-contained HTML file."""

from __future__ import annotations

from functools import cache
from typing import Any

from dipole.report import facts, plots
from dipole.report.page import Page, count_text
from dipole.report.reproduce import reproduce_command
from dipole.report.templates import environment
from dipole.shown import numbers
from dipole.shown.text import heading, one_line, visible


def render_html(page: Page, folder: str) -> str:
    """The page as HTML without scripts and without a request to anywhere.

    Args:
        page: What the report says.
        folder: Output folder as the user wrote it, for the lines that use the adapter.
    """
    folder = str(page.manifest.get("out") or folder)
    prompt = page.groups[0].prompt if page.groups else "If I had to choose,"
    reach = plots.forest_reach(page.bystanders)
    return str(
        _template().render(
            page=page,
            reward=plots.reward_plot(page.history),
            kl=plots.kl_plot(page.history, page.kl_target),
            loss=plots.loss_plot(page.history),
            reach=reach,
            bars=[plots.interval_bar(b, reach) for b in page.bystanders],
            command=visible(str(page.manifest.get("command") or "")),
            reproduce=visible(reproduce_command(page.manifest)) if page.manifest and page.trained else "",
            files=facts.files(page.trained, bool(page.history)),
            folder=folder,
            use_dipole=facts.use_with_dipole(folder, prompt),
            use_python=facts.use_in_python(page.manifest, folder),
            use_peft=facts.use_with_peft(page.manifest, folder),
        )
    )


@cache
def _template() -> Any:
    own = environment()
    own.filters["line"] = one_line
    own.globals.update(
        heading=heading,
        number=numbers.number,
        change=numbers.change,
        bounds=numbers.bounds,
        plain_bounds=numbers.plain_bounds,
        unit_label=numbers.unit_label,
        count_text=count_text,
    )
    return own.get_template("report.html.jinja")
