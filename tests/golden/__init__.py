"""What every control, recognizer, verb and command gave once, kept as JSON, against what it gives now.

The records in `records/` are a freeze: whoever rebuilds the house leaves them equal. Where one changes for a
good reason, `python -m golden.make [NAME…]` in `tests/` (with `src/` on the path too) says what differs and
writes it again; the difference then stands in the commit, with its reason.

Token ids, texts, names and structure are compared exactly, numbers to a tolerance for their kind
(`controls.py`, `verbs.py`), and bounds of intervals to ten times that. Everything is asked for by public
names, which are imported in `_api.py` alone.
"""
