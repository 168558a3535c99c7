"""Logs of evaluations, ours and those of other harnesses, item by item."""

from dipole.evaluation.logs.log import Entry, Log, Measure
from dipole.evaluation.logs.read import read_log

__all__ = ["Entry", "Log", "Measure", "read_log"]
