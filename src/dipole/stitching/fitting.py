"""Fitting maps from one layer of a source LM to several layers of a target LM, in a few passes over a corpus.

The survey reads the source alone, twice: first how well the tokenizers pair, and the mean and covariance of
the source's activations; then how near each row is, which sets how steeply rows are weighted. The fit reads
both LMs and sums moments. None keeps rows, but for a sample of fixed size, so memory does not grow with the
corpus.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from dipole.progress import Progress, silent
from dipole.protocols import LM
from dipole.reading.pairs import read_last_ids
from dipole.stitching.nearness import ROWS_PER_WIDTH, CosineCounts, Nearness, near
from dipole.stitching.pairing import RELAX_BELOW
from dipole.stitching.parts import PARTS, Split, Text
from dipole.stitching.reading import Tally, hidden_width, paired_rows, source_rows
from dipole.stitching.ridge import LAMBDAS, Map, Moments, Spectrum, choose, fvu, spectrum_of
from dipole.stitching.sums import Sums
from dipole.types import DipoleWarning, UserError

_FIT_SHARE = 0.8


@dataclass(frozen=True, eq=False)
class Survey:
    """What was found of the corpus before anything is fitted.

    Attributes:
        tally: How the texts paired.
        relaxed: Whether too few did, so that marked pairs are added.
        nearness: Weights of rows; None for equal ones.
        effective: About how many effective rows there will be to fit on.
        split: What each document is for.
    """

    tally: Tally
    relaxed: bool
    nearness: Nearness | None
    effective: float
    split: Split = Split()


@dataclass(frozen=True, eq=False)
class Stitch:
    """A map from a layer to a layer, with what is known of it.

    Attributes:
        source_layer: Block of the source after which it starts.
        target_layer: Block of the target after which it ends.
        map: The map.
        fvu_choose: Variance unexplained on the documents that lambda and the layer were chosen on, weighted.
        fvu: The same on documents that took no part in anything.
        fvu_shuffled: The same of maps fitted to pairs with rows of other documents, mean.
        fvu_exact: Of a map fitted without relaxed pairs, on exact ones; None where there are no relaxed ones.
        cka: Linear CKA of a sample of held-out rows, not weighted.
        rows: Rows that it was fitted on.
        effective: The same as effective rows.
        norms: Median and mean norm of a sample of the target's held-out rows.
        shuffled: Maps fitted to shuffled pairs.
    """

    source_layer: int
    target_layer: int
    map: Map
    fvu_choose: float
    fvu: float
    fvu_shuffled: float
    fvu_exact: float | None
    cka: float
    rows: int
    effective: float
    norms: tuple[float, float]
    shuffled: tuple[Map, ...]


def survey(
    source: LM,
    target: LM,
    documents: Iterable[Text],
    layer: int,
    prompts: Sequence[str] = (),
    max_tokens: int = 512,
    batch_size: int = 32,
    progress: Progress = silent,
) -> Survey:
    """Read the corpus with the source alone; with both tokenizers.

    Args:
        source: LM that maps start from.
        target: LM that they lead to.
        documents: Can be read again and again.
        layer: Block of the source after which its residual stream is read.
        prompts: Texts at whose last token maps have to be best; none for equal weights.
        max_tokens: Tokens of a document that are read at most.
        batch_size: Rows a forward.
        progress: Told how many documents were read so far.

    Raises:
        UserError: No text gives a pair.
    """
    tally, moments = Tally(), Moments()
    wanted = [layer] if prompts else []
    for _, states in source_rows(source, target, documents, wanted, tally, max_tokens, batch_size):
        if prompts:
            moments.add(states[0], states[0][:, :0])
        progress("reading the source", note=f"{tally.documents:,} documents")
    if not tally.pairs:
        raise UserError(
            f"None of the {tally.documents} documents gives a pair of tokens of {source.resident.name} and "
            f"{target.resident.name} that end at the same byte; give longer texts, in a language that both "
            "tokenizers know."
        )
    relaxed, rows, split = tally.kept < RELAX_BELOW, _FIT_SHARE * tally.pairs, tally.units.split()
    wide = hidden_width(source)
    if rows < ROWS_PER_WIDTH * wide:
        warnings.warn(
            f"{rows:.0f} pairs to fit on are fewer than {ROWS_PER_WIDTH} times the width of "
            f"{source.resident.name} ({wide}), so the map will be poor; give a larger corpus.",
            DipoleWarning,
            stacklevel=2,
        )
    if not prompts:
        return Survey(tally, relaxed, None, rows, split)
    anchors = read_last_ids(source, [source.prompt_ids(p) for p in prompts], [layer])[0][0]
    made, counts = near(moments.mean_x, moments.xx / moments.weight, anchors), CosineCounts()
    again = Tally()
    stream = source_rows(source, target, documents, wanted, again, max_tokens, batch_size, split)
    for part, states in stream:
        if part == "fit":
            counts.add(made.cosines(states[0]))
        progress("weighing", note=f"{again.documents:,} documents")
    power = counts.largest_power(ROWS_PER_WIDTH * wide)
    return Survey(tally, relaxed, replace(made, power=power), counts.effective(power), split)


def fit_stitches(
    source: LM,
    target: LM,
    documents: Iterable[Text],
    source_layer: int,
    target_layers: Sequence[int],
    found: Survey,
    penalties: Sequence[float] = LAMBDAS,
    max_tokens: int = 512,
    batch_size: int = 32,
    seed: int = 0,
    progress: Progress = silent,
) -> list[Stitch]:
    """Fit one map for each target layer, in one pass.

    Args:
        source: LM that maps start from.
        target: LM that they lead to.
        documents: The same as for `survey`.
        source_layer: Block of the source.
        target_layers: Blocks of the target.
        found: What `survey` found.
        penalties: Lambdas to choose from, in units of the mean eigenvalue.
        max_tokens: Tokens of a document that are read at most.
        batch_size: Rows a forward.
        seed: Of the shuffled pairs.
        progress: Told how many documents were read so far.

    Raises:
        UserError: Too few documents to hold some out, or activations that are not finite.
    """
    sums, tally = Sums(len(target_layers), found.relaxed, seed), Tally()
    stream = paired_rows(
        source,
        target,
        documents,
        [source_layer],
        target_layers,
        tally,
        found.relaxed,
        max_tokens,
        batch_size,
        found.split,
    )
    for rows in stream:
        sums.add(rows, None if found.nearness is None else found.nearness.weights(rows.source[0]))
        progress("reading both", note=f"{tally.documents:,} documents")
    sums.finish()
    return _stitches(source_layer, target_layers, sums, penalties)


def _stitches(
    source_layer: int, target_layers: Sequence[int], sums: Sums, penalties: Sequence[float]
) -> list[Stitch]:
    n = [sums.parts[part][0].n for part in PARTS]
    if not all(sums.parts[part][0].weight for part in PARTS):
        raise UserError(
            f"The corpus has too few documents with pairs ({n[0]}, {n[1]} and {n[2]} pairs to fit, to choose "
            "and to report on); give some dozens at least."
        )
    spectrum, alone = spectrum_of(sums.parts["fit"][0]), None
    if sums.exact is not None and all(moments[0].weight for moments in sums.exact.values()):
        alone = spectrum_of(sums.exact["fit"][0])
    return [
        _stitch(source_layer, layer, sums, k, penalties, spectrum, alone)
        for k, layer in enumerate(target_layers)
    ]


def _stitch(
    source_layer: int,
    target_layer: int,
    sums: Sums,
    at: int,
    penalties: Sequence[float],
    spectrum: Spectrum,
    alone: Spectrum | None,
) -> Stitch:
    """The map to one layer; the spectra are of all rows to fit on, and of the exact pairs among them."""
    fit, choosing, test = (sums.parts[part][at] for part in PARTS)
    best = choose(fit, choosing, penalties, spectrum)
    # Partners are drawn without weights. The weighted mean can be known without a pairing, so the null has it
    # too; else its variance unexplained would be above 1 for reasons that are not those of the pairing.
    nulls = [replace(moments, mean_y=fit.mean_y) for moments in sums.broken[at]]
    broken = tuple(choose(moments, choosing, (best.penalty,), spectrum) for moments in nulls)
    exact = None
    if sums.exact is not None and alone is not None:
        made = choose(sums.exact["fit"][at], sums.exact["choose"][at], penalties, alone)
        exact = fvu(made, sums.exact["test"][at])
    return Stitch(
        source_layer,
        target_layer,
        best,
        fvu(best, choosing),
        fvu(best, test),
        sum(fvu(m, test) for m in broken) / len(broken),
        exact,
        sums.cka(at),
        fit.n,
        fit.effective,
        sums.norms(at),
        broken,
    )


def best_stitch(stitches: Sequence[Stitch]) -> Stitch:
    """The one with the least variance unexplained on the documents for choosing; never by steering."""
    return min(stitches, key=lambda stitch: stitch.fvu_choose)


def facts_of(stitch: Stitch) -> Mapping[str, float | int | None]:
    """Its numbers as plain data."""
    return {
        "source_layer": stitch.source_layer,
        "target_layer": stitch.target_layer,
        "lambda": stitch.map.penalty,
        "fvu_choose": stitch.fvu_choose,
        "fvu": stitch.fvu,
        "fvu_shuffled": stitch.fvu_shuffled,
        "fvu_exact_pairs": stitch.fvu_exact,
        "cka": stitch.cka,
        "rows": stitch.rows,
        "effective_rows": stitch.effective,
    }
