"""All records, by name."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from golden import commands, controls, recognizers, verbs
from golden.table import Case

RECORDS = Path(__file__).parent / "records"
CASES: dict[str, Case] = {**controls.CASES, **recognizers.CASES, **verbs.CASES, **commands.CASES}


def read(name: str) -> Any:
    """The record of that name; None where there is none yet."""
    path = RECORDS / f"{name}.json"
    return json.loads(path.read_text("utf-8")) if path.is_file() else None


def write(name: str, record: Any) -> None:
    """Keep a record: an item a line, and what holds nothing but numbers and texts on one."""
    text = json.dumps(record, ensure_ascii=False, indent=1, allow_nan=False)
    text = re.sub(r"(?<=[\[{])\n[^\[\]{}]*(?=[\]}])", _on_one_line, text)
    (RECORDS / f"{name}.json").write_text(text + "\n", "utf-8")


def _on_one_line(found: re.Match[str]) -> str:
    return re.sub(r"\n *", " ", found[0]).strip()
