"""Translate a steering vector from one LM to another by a linear map that never saw what steering does."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from dipole.concepts import Dipole
from dipole.controls.layers import layers_of
from dipole.interventions.activations import SteeringVector
from dipole.origin import Origin, fit_origin, now
from dipole.progress import Progress, silent
from dipole.shown.terminal import columns, one_line
from dipole.stitching.diagnostics import effective_rank, share_inside
from dipole.stitching.fitting import Stitch, Survey, best_stitch, facts_of, fit_stitches, survey
from dipole.stitching.mapping import (
    candidate_layers,
    depth_of,
    layer_norms,
    mapped_vector,
    relative_norm,
    require_vector,
)
from dipole.stitching.parts import Text
from dipole.stitching.ridge import LAMBDAS
from dipole.stitching.said import layer_rows, notes, response_rows, verdict
from dipole.stitching.transfer import Transfer, require_measurable, verify
from dipole.types import MOST_COUNT, UserError, check_seed

if TYPE_CHECKING:
    from dipole.protocols import LM

AUTO = "auto"
_READ_FOR_NORM = 32


@dataclass(frozen=True)
class Translation:
    """How to translate.

    Attributes:
        layers: Layers of the target to try, counted from 0 with commas (negative from the end), or auto:
            equal relative depth, and a twelfth of the depth to either side.
        near: Let rows count by how near the source's state is to where the vector was read; off, the map is
            the same for all text.
        max_tokens: Tokens of a document that are read at most.
        batch_size: Rows a forward.
        n: Pairs of completions to verify with.
        max_new_tokens: Token budget of such a completion.
        seed: Of shuffles, random maps and completions.
    """

    layers: str = AUTO
    near: bool = True
    max_tokens: int = 512
    batch_size: int = 32
    n: int = 48
    max_new_tokens: int = 28
    seed: int = 0

    name = "translate"

    def __post_init__(self) -> None:
        """Refuse what means nothing.

        Raises:
            UserError: A count is below 1, or the seed no seed.
        """
        for field in ("max_tokens", "batch_size", "n", "max_new_tokens"):
            if not 1 <= getattr(self, field) <= MOST_COUNT:
                raise UserError(
                    f"{field} must be at least 1 and at most {MOST_COUNT:,}, and is {getattr(self, field)}."
                )
        check_seed(self.seed)


@dataclass(frozen=True, eq=False)
class Translated:
    """A translated vector, and what is known of it.

    Attributes:
        vector: For the target; strength 1 has the relative norm that it had in the source.
        chosen: The map it came through.
        stitches: Maps to every layer that was tried.
        survey: How the texts paired, and how rows were weighted.
        transfer: How it steers; None where no dipole was given.
        facts: All of that as plain data, as in `dipole.json`.
        dipole: What it was measured with.
        origin: What makes it again.
    """

    vector: SteeringVector
    chosen: Stitch
    stitches: tuple[Stitch, ...]
    survey: Survey
    transfer: Transfer | None
    facts: Mapping[str, Any]
    dipole: Dipole | None
    origin: Origin

    def __str__(self) -> str:
        """The layers that were tried, how the vector steers, and what came through."""
        corpus = self.facts["corpus"]
        lines = [
            f"vector for {one_line(self.vector.base_name)}, layer {self.vector.layers[0]}; "
            f"{corpus['documents']:,} documents, {corpus['pairs']:,} pairs "
            f"({100 * corpus['kept']:.0f}% of tokens)",
            "",
            *columns(*layer_rows(self.facts)),
            *(["", *columns(*response_rows(self.transfer))] if self.transfer is not None else []),
            "",
            *notes(self.facts, self.transfer),
            verdict(self.facts, self.transfer),
        ]
        return "\n".join(lines)


def translate(
    vector: SteeringVector,
    source: LM,
    target: LM,
    corpus: Iterable[Text],
    prompts: Sequence[str] = (),
    dipole: Dipole | None = None,
    settings: Translation = Translation(),
    progress: Progress = silent,
    corpus_name: str = "",
) -> Translated:
    """Translate a vector of `source` into one of `target`.

    Both read the corpus; a ridge map from the vector's layer to each candidate layer is fitted to their
    states where both have read the same bytes; the layer is the one with the least variance unexplained on
    other documents; the vector goes through the map without its bias, and gets its relative norm back.

    Args:
        vector: Of the source, after one layer.
        source: LM that the vector was made for.
        target: LM that it is wanted for; another tokenizer and width are fine.
        corpus: Documents with an `id` and a `text`, which can be read again and again.
        prompts: Where the vector acts: the map is best at the last token of such texts. By default the
            prompts that the vector was chosen by, or the dipole's.
        dipole: What the vector is about. Given, the translated vector is measured on its held-out prompts
            beside the source's, the target's own, and nulls. It has no part in the translation, but for its
            prompts where nothing else tells where the vector acts.
        settings: How.
        progress: Told what is being done.
        corpus_name: What the report calls the corpus.

    Raises:
        UserError: The vector is not the source's, texts can't be paired, or the corpus is too small.
    """
    started = now()
    require_vector(vector, source)
    if dipole is not None:  # found out now, not after the corpus
        require_measurable(vector, dipole, (source, target), settings.max_new_tokens)
    layers = _candidates(settings.layers, vector.layers[0], source, target)
    near = _anchors(vector, prompts, dipole, (source, target)) if settings.near else ()
    at, most, rows = vector.layers[0], settings.max_tokens, settings.batch_size
    found = survey(source, target, corpus, at, near, most, rows, progress)
    stitches = fit_stitches(
        source, target, corpus, at, layers, found, LAMBDAS, most, rows, settings.seed, progress
    )
    chosen = best_stitch(stitches)
    texts = near or _first_texts(corpus, settings.max_tokens)
    relative = relative_norm(vector, source, texts)
    norms = layer_norms(target, texts, chosen.target_layer) if near else chosen.norms
    made = mapped_vector(vector, chosen, target, relative, norms)
    transfer = None if dipole is None else verify(
        vector, made, chosen, source, target, dipole, settings.n, settings.max_new_tokens, settings.seed,
        progress,
    )  # fmt: skip
    facts = _facts(vector, source, chosen, stitches, found, near, relative, transfer)
    made_by = fit_origin(
        settings, {} if dipole is None else dipole.to_dict(), started, target.resident, seed=settings.seed,
        prompts=facts["near"], held_out=() if transfer is None else transfer.prompts,
        verb="translate", corpus=corpus_name, source=facts["source"],
    )  # fmt: skip
    return Translated(
        replace(made, facts=facts), chosen, tuple(stitches), found, transfer, facts, dipole, made_by
    )


def _candidates(text: str, layer: int, source: LM, target: LM) -> tuple[int, ...]:
    if text == AUTO:
        return candidate_layers(layer, depth_of(source), depth_of(target))
    return layers_of(text, target, 1)


def _anchors(
    vector: SteeringVector, prompts: Sequence[str], dipole: Dipole | None, lms: Sequence[LM]
) -> tuple[str, ...]:
    """Texts at whose last token the vector was read, as far as is known.

    Raises:
        UserError: One of them is too long for an LM.
    """
    chosen_by = (vector.facts.get("selection") or {}).get("prompts") or vector.facts.get("near") or ()
    found = tuple(prompts) or tuple(chosen_by) or (() if dipole is None else dipole.prompts)
    for text in found:
        for lm in lms:
            lm.require_room(text, 0)
    return found


def _first_texts(corpus: Iterable[Text], max_tokens: int) -> list[str]:
    # A character is at least a token of its own at worst, so this never overflows a context of max_tokens.
    return [document.text[: max_tokens // 4] for document in islice(corpus, _READ_FOR_NORM)]


def _facts(
    vector: SteeringVector,
    source: LM,
    chosen: Stitch,
    stitches: Sequence[Stitch],
    found: Survey,
    near: Sequence[str],
    relative: float,
    transfer: Transfer | None,
) -> dict[str, Any]:
    matrix, tally = chosen.map.matrix, found.tally
    rank = effective_rank(matrix)
    return {
        "method": "translated",
        "source": {
            "model": source.resident.name,
            "fingerprint": source.resident.fingerprint,
            "layer": vector.layers[0],
        },
        "source_method": vector.facts.get("method"),
        "relative_norm": relative,
        "map": facts_of(chosen),
        "layers": [facts_of(stitch) for stitch in stitches],
        "effective_rank": rank,
        "share_inside": share_inside(vector.vectors[0], matrix, round(rank)),
        "shrinkage": float(chosen.map.vectors(vector.vectors[0]).norm() / vector.vectors[0].double().norm()),
        "near": list(near),
        "power": 0.0 if found.nearness is None else found.nearness.power,
        "corpus": {
            "hash": tally.digest,
            "documents": tally.documents,
            "unpaired": tally.unpaired,
            "pairs": tally.pairs,
            "kept": tally.kept,
            "relaxed": found.relaxed,
            "whole": found.split.whole,
            "units": len(tally.units.pairs),
        },
        "verification": transfer,
    }
