"""The account of a run: what was wanted, what changed, and what else changed with it."""

from dipole.report.card import model_card
from dipole.report.reproduce import reproduce_command
from dipole.report.terminal import terminal_summary
from dipole.report.write import write_report

__all__ = ["model_card", "reproduce_command", "terminal_summary", "write_report"]
