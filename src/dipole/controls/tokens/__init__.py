"""Controls that make token pools: what may be said at all."""
