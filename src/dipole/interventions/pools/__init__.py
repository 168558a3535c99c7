"""What token pools are made of: languages over bytes, and the vocabulary as a trie of bytes."""
