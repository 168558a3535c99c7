"""Edited artefacts: whatever is done to a file that dipole reads, it is used or refused in one sentence.

`python -m fuzz 4000 [seed]` in `tests/` (with `src/` on the path too) runs as many edits as are asked for.
"""
