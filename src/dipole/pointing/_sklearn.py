"""scikit-learn, where it is installed."""

from __future__ import annotations

from importlib.util import find_spec

from dipole.types import UserError


def require_sklearn() -> None:
    """Say what to install where scikit-learn is missing.

    Raises:
        UserError: It is.
    """
    if find_spec("sklearn") is None:
        raise UserError(
            "Topics and clusters need scikit-learn, which is not installed; run "
            '`pip install "dipole[topics]"`.'
        )
