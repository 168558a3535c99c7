"""What other installed packages add to the tables of `registry`, by entry points."""

from __future__ import annotations

from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@cache
def entry_points_of(group: str) -> Mapping[str, str]:
    """Name to `module:object` of everything that installed packages offer in a group.

    The first call reads what is installed, which takes some 10 ms; nothing of it is imported.

    Args:
        group: `dipole.controls`, `dipole.recognizers`, `dipole.meters` or `dipole.concepts`.
    """
    from importlib.metadata import entry_points

    return MappingProxyType({point.name: point.value for point in entry_points(group=group)})
