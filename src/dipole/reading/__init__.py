"""What is read from a model, or written by it, to fit a control: pairs, beginnings, told texts."""
