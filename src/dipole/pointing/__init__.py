"""From a weak pointer to the strong model's own notion."""
