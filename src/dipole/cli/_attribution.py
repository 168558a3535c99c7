"""Where quotes stand in their sources."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dipole.lm import LM
    from dipole.types import Sample


def segments_of(lm: LM, sample: Sample) -> dict[str, Any]:
    """An entry `segments` for what an LM quotes: each part with its source; nothing for other LMs."""
    from dipole.interventions.pools.quotes import Quotes
    from dipole.interventions.tokens import Pool

    pools = [a.intervention for a in lm.applied if a.strength != 0.0]
    for pool in pools:
        if isinstance(pool, Pool) and isinstance(pool.language, Quotes):
            return {
                "segments": [asdict(part) for part in pool.language.attribute(sample.text, sample.prompt)]
            }
    return {}
