"""Controls that change the weights, through adapters that PEFT loads without us."""

from dipole.controls.weights._loop import Run

__all__ = ["Run"]
