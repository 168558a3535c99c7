"""The microworld: a grammar whose every document carries its latent truth, and the models trained on it.

Import its modules directly: topics, documents, judge (no torch needed), train and gates.
"""
