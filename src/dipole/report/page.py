"""What the report says, as plain data: the HTML page, its Markdown twin and the terminal only lay it out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, NamedTuple

from dipole.effects import Bystander, Change, Effect
from dipole.report.facts import Fact, facts
from dipole.report.verdict import Figure, headline_figures, notes, verdict
from dipole.shown.numbers import number
from dipole.shown.text import Piece, concept_mentions, one_line, pieces
from dipole.types import Sample

SHOWN_ROWS = 32  # the published form has 32; further rows are folded away


class Row(NamedTuple):
    """One pair of completions: its number in the report, and both cut at their mentions."""

    number: int
    before: list[Piece]
    after: list[Piece]
    side_before: str | None
    side_after: str | None


class Count(NamedTuple):
    """How many completions took a side, before and after."""

    label: str
    side: str
    before: int
    after: int


@dataclass(frozen=True)
class Group:
    """The completions of one prompt.

    Attributes:
        prompt: The prompt on one line.
        shown: Rows that are always in sight.
        folded: Rows that are folded away.
        counts: Sides taken over all of its rows.
        n_before: Completions before.
        n_after: Completions after.
        gap: What stands behind the prompt: dots where a text goes on, nothing where somebody answers.
    """

    prompt: str
    shown: tuple[Row, ...]
    folded: tuple[Row, ...]
    counts: tuple[Count, ...]
    n_before: int
    n_after: int
    gap: str = " …"


@dataclass(frozen=True)
class Page:
    """The whole report.

    Attributes:
        title: The claim, or the concept's name.
        claim: Statement that was wanted, on one line.
        against: Its opposite.
        notes: What must be read first.
        verdict: Sentences in plain words.
        figures: The few numbers at the top.
        groups: Completions by prompt.
        counts: Sides over all completions.
        changes: Rows of the effect table.
        bystanders: Other dipoles, those that moved most first.
        held_out: Whether the prompts were never trained on.
        history: Rows of the training history.
        kl_target: Where the control wanted the divergence, in nats a sequence; None if it had no target.
        facts: What is needed to know and to repeat the run.
        manifest: The manifest.
    """

    title: str
    claim: str
    against: str
    notes: tuple[str, ...]
    verdict: tuple[str, ...]
    figures: tuple[Figure, ...]
    groups: tuple[Group, ...]
    counts: tuple[Count, ...]
    changes: tuple[Change, ...]
    bystanders: tuple[Bystander, ...]
    held_out: bool
    history: tuple[Mapping[str, float], ...]
    kl_target: float | None
    facts: tuple[Fact, ...]
    manifest: Mapping[str, Any]

    @property
    def trained(self) -> bool:
        """Whether an adapter was trained, and lies beside the report."""
        return self.manifest.get("verb") != "compare"


def build_page(effect: Effect, history: Sequence[Mapping[str, float]], manifest: Mapping[str, Any]) -> Page:
    """Everything that the report says about an effect."""
    claim = one_line(str(effect.concept.get("claim", "")))
    against = one_line(str(effect.concept.get("against", "")))
    name = one_line(str(effect.concept.get("name") or ""))
    return Page(
        title=claim or name or "Effect",
        claim=claim,
        against=against,
        notes=notes(effect),
        verdict=verdict(effect),
        figures=headline_figures(effect),
        groups=_groups(effect),
        counts=_counts(effect.sides_before, effect.sides_after),
        changes=effect.changes,
        bystanders=tuple(sorted(effect.bystanders, key=_size, reverse=True)),
        held_out=effect.held_out,
        history=tuple(history),
        kl_target=kl_target(manifest),
        facts=facts(manifest),
        manifest=manifest,
    )


def kl_target(manifest: Mapping[str, Any]) -> float | None:
    """The control's KL target in nats a sequence, where its fields name one."""
    control = manifest.get("control")
    fields = control.get("fields") if isinstance(control, Mapping) else None
    if not isinstance(fields, Mapping):
        return None
    for key in ("kl_target", "target_kl"):
        value = fields.get(key)
        if isinstance(value, int | float) and not isinstance(value, bool) and value > 0:
            return float(value)  # 0 means that there is none
    return None


def count_text(count: Count, n_before: int, n_after: int) -> str:
    """`48 of 128 → 124 of 128`, or one number where the other side has no completions."""
    before = f"{count.before} of {n_before}" if n_before else number(None)
    after = f"{count.after} of {n_after}" if n_after else number(None)
    return f"{before} → {after}"


def _size(bystander: Bystander) -> float:
    mean = bystander.shift.mean
    return -1.0 if mean != mean else abs(mean)


def _counts(before: Sequence[str | None], after: Sequence[str | None]) -> tuple[Count, ...]:
    old, new = Counter(before), Counter(after)
    labels = (("Claim", "claim"), ("Counterclaim", "against"))
    rows = [Count(label, side, old[side], new[side]) for label, side in labels]
    taken = ("claim", "against")
    neither_old = sum(n for side, n in old.items() if side not in taken)
    neither_new = sum(n for side, n in new.items() if side not in taken)
    return (*rows, Count("Neither", "", neither_old, neither_new))


def _groups(effect: Effect) -> tuple[Group, ...]:
    """Completions by prompt in the order of the prompts, numbered through."""
    mentions = concept_mentions(effect.concept)
    before = _by_prompt(effect.samples_before, effect.sides_before)
    after = _by_prompt(effect.samples_after, effect.sides_after)
    prompts = list(dict.fromkeys([*effect.prompts, *before, *after]))
    prompts = [p for p in prompts if before.get(p) or after.get(p)]
    shown = max(4, SHOWN_ROWS // max(1, len(prompts)))
    groups, index = [], 0
    for prompt in prompts:
        rows = []
        pairs = zip_longest(before.get(prompt, []), after.get(prompt, []), fillvalue=("", None))
        for (old, side_old), (new, side_new) in pairs:
            index += 1
            rows.append(Row(index, _cut(old, mentions), _cut(new, mentions), side_old, side_new))
        old_sides = [side for _, side in before.get(prompt, [])]
        new_sides = [side for _, side in after.get(prompt, [])]
        groups.append(
            Group(
                one_line(prompt) or "(empty prompt)",
                tuple(rows[:shown]),
                tuple(rows[shown:]),
                _counts(old_sides, new_sides),
                len(old_sides),
                len(new_sides),
                gap_of(effect.samples_before or effect.samples_after),
            )
        )
    return tuple(groups)


def gap_of(samples: Sequence[Sample]) -> str:
    """What stands behind the prompts of samples: dots where texts go on, nothing in chats."""
    return "" if any(sample.joint for sample in samples) else " …"


def _by_prompt(
    samples: Sequence[Sample], sides: Sequence[str | None]
) -> dict[str, list[tuple[str, str | None]]]:
    found: dict[str, list[tuple[str, str | None]]] = {}
    for sample, side in zip_longest(samples, sides[: len(samples)]):
        found.setdefault(sample.prompt, []).append((sample.text, side))
    return found


def _cut(text: str, mentions: Mapping[str, Sequence[str]]) -> list[Piece]:
    return pieces(text.strip(), mentions)
