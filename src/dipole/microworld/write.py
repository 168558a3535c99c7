"""Write documents: `python -m dipole.microworld.write -n 10000 --seed 5 --out docs.jsonl`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from pathlib import Path

from dipole.files import claimed, code_of, writing_text
from dipole.microworld.documents import generate
from dipole.microworld.truth import Document
from dipole.types import UserError


def write(documents: Iterable[Document], path: Path) -> None:
    """Write one JSON object a line, with "text" and "truth"; the file appears whole or not at all.

    Raises:
        UserError: It can't be written, or another command is at it.
    """
    if not path.parent.is_dir():
        raise UserError(f"Cannot write {path}: there is no folder {path.parent}.")
    with claimed(path), writing_text(path) as file:
        for document in documents:
            file.write(
                json.dumps({"text": document.text, "truth": document.truth}, ensure_ascii=False) + "\n"
            )


def main(argv: list[str] | None = None) -> int:
    """The command; 2 on input that cannot be."""
    parser = argparse.ArgumentParser(prog="python -m dipole.microworld.write", description=__doc__)
    parser.add_argument("-n", type=int, required=True, help="number of documents")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--held-out", action="store_true", help="by the authors that no training document has"
    )
    parser.add_argument("--force", action="store_true", help="replace the file if there is one")
    options = parser.parse_args(argv)
    if options.out.exists() and not options.force:
        print(f"{options.out} is there already: pass --force to replace it.", file=sys.stderr)
        return 2
    try:
        write(generate(options.n, options.seed, held_out=options.held_out), options.out)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    except ValueError as error:
        print(f"Cannot write {options.out}: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(code_of(main))
