"""The Markdown twin of the report (CommonMark with GitHub's tables and strikethrough)."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence

from dipole.effects import Change, Effect
from dipole.report import facts, plots
from dipole.report.page import Count, Group, Page, Row, count_text
from dipole.report.reproduce import reproduce_command
from dipole.shown.numbers import NONE, bounds, change, number, plain_bounds, sparkline, unit_label
from dipole.shown.text import Piece, heading, inline, one_line, visible

_SPECIAL = re.compile(r"([\\`*_~|\[\]$])")
_ALIGN = {"l": "---", "r": "--:"}


def render_markdown(page: Page, folder: str) -> str:
    """The page as Markdown.

    Args:
        page: What the report says.
        folder: Output folder as the user wrote it, for the lines that use the adapter.
    """
    folder = str(page.manifest.get("out") or folder)
    blocks = [f"# {escape(page.title)}"]
    if page.against:
        blocks.append(f"against ~~{escape(page.against)}~~")
    blocks += [f"> **Note.** {escape(note)}" for note in page.notes]
    blocks.append(escape(" ".join(page.verdict)))
    blocks += [*_figures(page), *_samples(page)]
    if page.changes:
        blocks += ["## Effect", effect_table(page.changes), _EFFECT_LEGEND]
    blocks += [
        *_bystanders(page),
        *_training(page),
        *(_usage(page, folder) if page.trained else ()),
        *_reproduce(page, folder),
    ]
    return "\n\n".join(block for block in blocks if block) + "\n"


_EFFECT_LEGEND = (
    "Differences are paired by prompt and seed, with 95% bootstrap intervals; those of shares are in "
    "percentage points. In-loop numbers were part of what the control optimised; held-out ones were not."
)


def escape(text: str) -> str:
    """User text on one line that Markdown shows as it is, in a table cell or out of one."""
    return _escaped(one_line(text))


def _escaped(text: str) -> str:
    line = inline(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _SPECIAL.sub(r"\\\1", line)


def table(header: Sequence[str], align: str, rows: Iterable[Sequence[str]]) -> str:
    """A table of cells that are already Markdown; `align` has one of `l`, `r` a column."""
    lines = [header, [_ALIGN[a] for a in align], *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def fenced(code: str) -> str:
    """A code block with a fence longer than any run of backticks in it."""
    longest = max((len(run) for run in re.findall("`+", code)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}\n{visible(code)}\n{fence}"


def marked(cut: Iterable[Piece]) -> str:
    """A completion with the claim's mentions in bold and the counterclaim's struck through."""
    return "".join(_mark(piece) for piece in cut)


def _mark(piece: Piece) -> str:
    if piece.side is None:
        return _escaped(piece.text)
    if piece.side == "against":
        return _struck(piece.text)
    body = escape(piece.text)
    return f"**{body}**" if _bare(piece.text) else f"<strong>{body}</strong>"


def _struck(text: str) -> str:
    return f"~~{escape(text)}~~" if _bare(text) else f"<del>{escape(text)}</del>"


def _bare(text: str) -> bool:
    """Whether Markdown's own marks work around the text: they need a letter or digit at either end."""
    return text[:1].isalnum() and text[-1:].isalnum()


def _figures(page: Page) -> list[str]:
    rows = []
    for figure in page.figures:
        detail = f" ({escape(figure.detail)})" if figure.detail else ""
        rows.append(f"- **{figure.value}** {escape(figure.label)}{detail}")
    return ["\n".join(rows)]


def _samples(page: Page) -> list[str]:
    if not page.groups:
        return []
    trained = "None of these prompts was trained on." if page.held_out else "These prompts were trained on."
    blocks = [
        "## Before and after",
        "The same prompts and seeds, continued by the model before and after. "
        f"{trained} Words of the claim are in **bold**, words of the counterclaim are ~~struck through~~; "
        "the first of them decides the side.",
    ]
    for group in page.groups:
        blocks += _group(group)
    if len(page.groups) > 1:
        before, after = sum(g.n_before for g in page.groups), sum(g.n_after for g in page.groups)
        blocks.append(f"**All prompts.** {_counts(page.counts, before, after)}")
    return blocks


def _group(group: Group) -> list[str]:
    blocks = [f"**Prompt:** {escape(group.prompt)}{group.gap}", _sample_table(group.shown)]
    if group.folded:
        summary = f"<summary>{len(group.folded)} more of this prompt</summary>"
        blocks += ["<details>", summary, _sample_table(group.folded), "</details>"]
    blocks.append(_counts(group.counts, group.n_before, group.n_after))
    return blocks


def _sample_table(rows: Sequence[Row]) -> str:
    cells = ((str(r.number), marked(r.before), marked(r.after)) for r in rows)
    return table(("", "Before", "After"), "rll", cells)


def _counts(counts: Sequence[Count], before: int, after: int) -> str:
    return "; ".join(f"{c.label}: {count_text(c, before, after)}" for c in counts) + "."


def effect_table(changes: Sequence[Change]) -> str:
    """The effect table: before, after, difference with its interval, and who judged it."""
    header = ("Quantity", "Before", "After", "Difference", "95% interval", "Judged", "n", "Unscored")
    return table(header, "lrrrllrr", (_change_row(c) for c in changes))


def _change_row(c: Change) -> tuple[str, ...]:
    unit = unit_label(c.unit, c.label)
    interval = bounds(c.difference, c.unit)
    if c.difference is None and c.before is None and plain_bounds(c.after, c.unit):
        interval = f"{plain_bounds(c.after, c.unit)} of after"
    return (
        escape(heading(c.label)) + (f" ({escape(unit)})" if unit else ""),
        number(c.before.mean if c.before else None, c.unit),
        number(c.after.mean, c.unit),
        change(c.difference.mean if c.difference else None, c.unit),
        escape(interval),
        "**in-loop**" if c.in_loop else "held-out",
        str(c.n),
        str(c.unscored or ""),
    )


def _bystanders(page: Page) -> list[str]:
    if not page.bystanders:
        return []
    rows = (
        (
            escape(b.name),
            number(b.before, "probability"),
            number(b.after, "probability"),
            change(b.shift.mean, "probability"),
            escape(bounds(b.shift, "probability")),
        )
        for b in page.bystanders
    )
    return [
        "## Bystanders",
        "Dipoles that nobody asked to move: the mean probability of each one's claim on its own prompts, the "
        "largest shift first.",
        table(("Dipole", "Before", "After", "Shift", "95% interval"), "lrrrl", rows),
    ]


def bystander_table(effect: Effect, most: int) -> str:
    """The bystanders that moved most, as a short table."""
    ranked = sorted(
        effect.bystanders, key=lambda b: -abs(b.shift.mean) if b.shift.mean == b.shift.mean else 1.0
    )
    rows = (
        (escape(b.name), change(b.shift.mean, "probability"), escape(bounds(b.shift, "probability")))
        for b in ranked[:most]
    )
    return table(("Bystander", "Shift in probability", "95% interval"), "lrl", rows)


_MEASURED = {
    "reward_mean": ("Reward", "mean"),
    "reward_std": ("Reward", "sd"),
    "kl": ("KL", "nats a sequence"),
    "loss": ("Loss", "nats a token"),
    "preference_loss": ("Preference loss", "mean"),
    "accuracy": ("Told apart", "share"),
}


def _training(page: Page) -> list[str]:
    if not page.history:
        return []
    rounds = plots.rounds(page.history)
    columns = {
        named: plots.column(page.history, name)
        for name, named in _MEASURED.items()
        if any(name in row for row in page.history)
    }
    lines = [
        f"- {label}: `{line}` from {_first(values)} to {_first(values[::-1])}" + f" {what}" * (what != "mean")
        for (label, what), values in columns.items()
        if what != "sd" and (line := sparkline(values)).strip()
    ]
    if page.kl_target is not None:
        lines.append(f"- KL target: {number(page.kl_target)} nats a sequence")
    picks = sorted({round(i * (len(rounds) - 1) / 9) for i in range(10)})
    rows = ((f"{rounds[i]:.0f}", *(_at(values, i) for values in columns.values())) for i in picks)
    header = ("Round", *(f"{label}, {what}" for label, what in columns))
    return ["## Training", "\n".join(lines), table(header, "r" * len(header), rows)]


def _at(values: Sequence[float], index: int) -> str:
    return number(values[index]) if math.isfinite(values[index]) else NONE


def _first(values: Sequence[float]) -> str:
    return number(next((v for v in values if math.isfinite(v)), None))


def _usage(page: Page, folder: str) -> list[str]:
    prompt = page.groups[0].prompt if page.groups else "If I had to choose,"
    return [
        "## Use the adapter",
        "On the command line, where the number after the colon is the strength (0 is the base, 1 as fitted):",
        fenced(facts.use_with_dipole(folder, prompt)),
        "In Python:",
        fenced(facts.use_in_python(page.manifest, folder)),
        "With `peft` alone:",
        fenced(facts.use_with_peft(page.manifest, folder)),
    ]


def _reproduce(page: Page, folder: str) -> list[str]:
    command = visible(str(page.manifest.get("command") or ""))
    blocks = ["## Reproduce"]
    if command:
        blocks += ["The command that was run:", fenced(command)]
    again = visible(reproduce_command(page.manifest)) if page.manifest and page.trained else ""
    if again and again != command:
        blocks += ["The same run from its manifest:", fenced(again)]
    if page.facts:
        blocks.append(table(("", ""), "ll", ((f.label, escape(f.value)) for f in page.facts)))
    blocks.append(f"Files in {escape(folder)}:")
    blocks.append(
        "\n".join(f"- `{f.label}`: {f.value}" for f in facts.files(page.trained, bool(page.history)))
    )
    return blocks
