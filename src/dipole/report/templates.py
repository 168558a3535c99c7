"""The pages' templates: everything that is filled in is escaped, and nothing may be missing."""

from __future__ import annotations

from functools import cache
from typing import Any


def environment() -> Any:
    """A new environment, for a page that adds filters or globals of its own."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("dipole.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@cache
def template(name: str) -> Any:
    """The template of that name."""
    return environment().get_template(name)
