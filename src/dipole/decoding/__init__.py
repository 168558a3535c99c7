"""Writing text token by token: the cache, the guides that change logits, and the draw."""
