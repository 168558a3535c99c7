"""What fits an intervention for a concept."""
