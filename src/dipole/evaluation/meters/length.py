"""How long completions are, and how they end."""

from __future__ import annotations

from dipole.evaluation.meters.protocol import Meter, Quantity, Subject


def meters(subject: Subject) -> list[Meter]:
    """Length in tokens, and how many completions ended by themselves."""
    del subject
    return [
        Quantity(
            "mean_length", "length, end of text included", "tokens", "none",
            lambda _, samples: [len(s.token_ids) for s in samples],
        ),
        Quantity(
            "eos_rate", "completions that ended by themselves", "share", "none",
            lambda _, samples: [s.finish_reason == "eos" for s in samples],
        ),
    ]  # fmt: skip
