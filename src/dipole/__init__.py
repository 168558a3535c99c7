"""dipole: say what you want from a language model as a dipole, wield any control, see what changed."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dipole.concepts import Arsenal, Dipole
    from dipole.controls.derive import derive
    from dipole.controls.fit import fit
    from dipole.controls.weights.grpo import GRPO
    from dipole.controls.weights.ppo import PPO
    from dipole.evaluation.check import check
    from dipole.evaluation.compare import compare
    from dipole.evaluation.diff import diff
    from dipole.evaluation.families import compare_controls, sweep
    from dipole.evaluation.inoculate import inoculate
    from dipole.interventions import Adapter, load_intervention
    from dipole.models.load import load
    from dipole.pointing.basin import basin
    from dipole.pointing.point import point
    from dipole.recognizers.score import score
    from dipole.recognizers.topics import topics
    from dipole.recognizers.velma import Velma
    from dipole.report import write_report
    from dipole.runs import save
    from dipole.stitching.translate import translate

__all__ = [
    "GRPO",
    "PPO",
    "Adapter",
    "Arsenal",
    "Dipole",
    "Velma",
    "basin",
    "check",
    "compare",
    "compare_controls",
    "derive",
    "diff",
    "fit",
    "inoculate",
    "load",
    "load_intervention",
    "point",
    "save",
    "score",
    "sweep",
    "topics",
    "translate",
    "write_report",
]

_HOMES = {
    "Adapter": "dipole.interventions",
    "Arsenal": "dipole.concepts",
    "Dipole": "dipole.concepts",
    "GRPO": "dipole.controls.weights.grpo",
    "PPO": "dipole.controls.weights.ppo",
    "Velma": "dipole.recognizers.velma",
    "basin": "dipole.pointing.basin",
    "check": "dipole.evaluation.check",
    "compare": "dipole.evaluation.compare",
    "compare_controls": "dipole.evaluation.families",
    "derive": "dipole.controls.derive",
    "diff": "dipole.evaluation.diff",
    "fit": "dipole.controls.fit",
    "inoculate": "dipole.evaluation.inoculate",
    "load": "dipole.models",
    "load_intervention": "dipole.interventions",
    "point": "dipole.pointing.point",
    "save": "dipole.runs",
    "score": "dipole.recognizers.score",
    "sweep": "dipole.evaluation.families",
    "topics": "dipole.recognizers.topics",
    "translate": "dipole.stitching.translate",
    "write_report": "dipole.report",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that `dipole --help` does not wait for torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'dipole' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
