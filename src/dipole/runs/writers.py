"""The files of each kind of record."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import singledispatch
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from dipole.controls.fit import Fitted
from dipole.controls.weights.checkpoint import write_history
from dipole.effects import Effect
from dipole.evaluation.check_record import Checked
from dipole.evaluation.diff_record import Difference
from dipole.evaluation.elephants_record import Elephants
from dipole.evaluation.families_records import Comparison
from dipole.evaluation.inoculate import Inoculated
from dipole.evaluation.serialise import effect_to_dict
from dipole.files import to_plain, write_bytes_atomic, write_json_atomic, write_text_atomic, writing_text
from dipole.interventions.folder import read_meta
from dipole.interventions.saved import write_saved
from dipole.lm import LM
from dipole.origin import Origin
from dipole.pointing.basin import Basin
from dipole.pointing.record import Pointed
from dipole.protocols import Intervention
from dipole.recognizers.score import Scored
from dipole.recognizers.topics import Topics
from dipole.report.basin import render_basin_html
from dipole.report.card import fitted_card, model_card
from dipole.report.comparison import write_comparison
from dipole.report.diff import render_diff_html
from dipole.report.pointed import render_pointed_html
from dipole.report.topics import render_topics_html
from dipole.report.translated import render_translated_html, translated_card
from dipole.report.write import write_report
from dipole.stitching.translate import Translated


@runtime_checkable
class Record(Protocol):
    """What a verb gives."""

    @property
    def origin(self) -> Origin | None:
        """What makes it again; None where that is not known."""
        ...


@singledispatch
def write(record: object, folder: Path, facts: Mapping[str, Any]) -> None:
    """Write what a record consists of, and its page.

    Args:
        record: What a verb gave, an intervention or an LM; a new kind registers a function of its own.
        folder: Empty.
        facts: What its manifest will say.
    """
    del facts
    if isinstance(record, Intervention):
        return record.save(folder)
    raise TypeError(f"dipole can't keep a {type(record).__name__}; register a writer in dipole.runs.writers")


@write.register
def _lm(record: LM, folder: Path, facts: Mapping[str, Any]) -> None:
    del facts
    write_saved(record, folder)


@write.register
def _fitted(record: Fitted, folder: Path, facts: Mapping[str, Any]) -> None:
    record.intervention.save(folder)
    if record.dipole is not None:
        record.dipole.save(folder / "dipole.toml", overwrite=True)
    if record.run.history:
        write_history(folder, record.run.history)
    write_text_atomic(folder / "README.md", fitted_card(read_meta(folder), facts))


@write.register
def _inoculated(record: Inoculated, folder: Path, facts: Mapping[str, Any]) -> None:
    write_json_atomic(folder / "effect.json", record.to_dict())
    replace(record.adapter, card=model_card(record.effect, facts)).save(folder / "adapter")
    write_history(folder, record.run.history)
    write_report(folder, record.effect, record.run.history, facts)


@write.register
def _effect(record: Effect, folder: Path, facts: Mapping[str, Any]) -> None:
    write_json_atomic(folder / "effect.json", effect_to_dict(record))
    write_report(folder, record, (), facts)


@write.register
def _checked(record: Checked, folder: Path, facts: Mapping[str, Any]) -> None:
    del facts
    write_json_atomic(folder / "check.json", record.to_dict())
    write_text_atomic(folder / "check.txt", str(record) + "\n")


@write.register
def _difference(record: Difference, folder: Path, facts: Mapping[str, Any]) -> None:
    write_json_atomic(folder / "diff.json", record.to_dict())
    write_text_atomic(folder / "diff.html", render_diff_html(record, facts))


@write.register
def _elephants(record: Elephants, folder: Path, facts: Mapping[str, Any]) -> None:
    del facts
    write_json_atomic(folder / "elephants.json", record.to_dict())
    write_text_atomic(folder / "elephants.txt", str(record) + "\n")


@write.register
def _comparison(record: Comparison, folder: Path, facts: Mapping[str, Any]) -> None:
    write_comparison(folder, record, facts)


@write.register
def _pointed(record: Pointed, folder: Path, facts: Mapping[str, Any]) -> None:
    record.intervention.save(folder)
    record.recognizer.save(folder)
    write_json_atomic(folder / "pointed.json", record.to_dict())
    write_text_atomic(folder / "report.html", render_pointed_html(record, facts))


@write.register
def _basin(record: Basin, folder: Path, facts: Mapping[str, Any]) -> None:
    write_json_atomic(folder / "basin.json", record.to_dict())
    write_text_atomic(folder / "basin.html", render_basin_html(record, facts))


@write.register
def _topics(record: Topics, folder: Path, facts: Mapping[str, Any]) -> None:
    record.model.save(folder)
    write_text_atomic(folder / "topics.html", render_topics_html(record, facts))


@write.register
def _scored(record: Scored, folder: Path, facts: Mapping[str, Any]) -> None:
    del facts
    with writing_text(folder / "scores.jsonl") as stream:
        stream.writelines(json.dumps(to_plain(row)) + "\n" for row in record.to_dicts())


@write.register
def _translated(record: Translated, folder: Path, facts: Mapping[str, Any]) -> None:
    from safetensors.torch import save

    replace(record.vector, card=translated_card(record.vector, facts)).save(folder)
    tensors = {"matrix": record.chosen.map.matrix, "bias": record.chosen.map.bias}
    write_bytes_atomic(folder / "map.safetensors", save({k: t.contiguous() for k, t in tensors.items()}))
    write_text_atomic(folder / "report.html", render_translated_html(record.vector, facts))
    if record.dipole is not None:
        record.dipole.save(folder / "dipole.toml", overwrite=True)
