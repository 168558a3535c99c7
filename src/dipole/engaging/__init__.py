"""Putting adapters and vectors into the one resident model, and taking them out again."""
