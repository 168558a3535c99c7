"""What changed between two LMs, and what else changed with it."""
